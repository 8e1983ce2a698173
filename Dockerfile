# The Airflow image of `astro dev start` and `astro deploy`. Held to the native stack by tests/unit/test_images.py; not built in CI.

# Spark's extra jars (Kafka source, PostgreSQL driver): the same pom and plugin as `make jars`
FROM maven:3.9.11-eclipse-temurin-17 AS jars
WORKDIR /build
COPY local_stack/jars/spark/pom.xml .
RUN mvn -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory=/jars

# Runtime 3.3-8 is Airflow 3.3.2. Python 3.12: the default 3.14 cannot import dbt-core 1.11 (mashumaro < 3.15).
# -base: the plain image installs requirements.txt by ONBUILD, before UV's override (below) could be given.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-python-3.12-base

USER root
WORKDIR /usr/local/airflow
COPY packages.txt .
RUN /usr/local/bin/install-system-packages

# The versions of requirements.lock, as far as the Runtime's own pins (Airflow and its task SDK) leave them free.
# overrides.txt: airflow-provider-great-expectations caps structlog below what Airflow needs, and uses none of it.
COPY requirements.txt requirements.lock overrides.txt ./
RUN uv pip install --system --no-cache -r requirements.txt \
    --constraint requirements.lock --constraint /etc/pip-constraints.txt --override overrides.txt

COPY --from=jars /jars /opt/webtoon/jars
# the volume that Airflow shares with Hive takes these folders and their owner over when it is first used
RUN install -d -o astro -g 0 -m 0775 /opt/webtoon/dbt /var/lib/webtoon \
    /var/lib/webtoon/landing /var/lib/webtoon/checkpoints /var/lib/webtoon/staging /var/lib/webtoon/warehouse \
    /var/lib/webtoon/docs /var/lib/webtoon/lineage

USER astro
COPY --chown=astro:0 . .

# WEBTOON_*: outside include/, which `astro dev start` covers with the folder of the host
ENV PYTHONPATH=/usr/local/airflow \
    WEBTOON_DBT_MANIFEST=/opt/webtoon/dbt/manifest.json \
    WEBTOON_DOCS_DIR=/var/lib/webtoon/docs \
    WEBTOON_JARS_DIR=/opt/webtoon/jars \
    ASTRONOMER_COSMOS__TELEMETRY=False \
    DBT_SEND_ANONYMOUS_USAGE_STATS=False \
    DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=false

# Lineage of Airflow, dbt and Spark to files (docs/lineage.md); .env wins over this, so one line there sends it elsewhere
ENV AIRFLOW__OPENLINEAGE__TRANSPORT='{"type": "include.common.lineage.files.DailyFileTransport", "log_file_path": "/var/lib/webtoon/lineage/events", "keep_days": 7}' \
    AIRFLOW__OPENLINEAGE__NAMESPACE=webtoon \
    AIRFLOW__OPENLINEAGE__EMISSION_POLICY='[{"scope": {}, "controls": {"include_source_code": false}}, {"scope": {"dag_id": "stream__send_tick|.*__watch_.*"}, "match_mode": "regex", "controls": {"emit": false}}, {"scope": {"dag_id": "privacy__.*|ops__trace_value"}, "match_mode": "regex", "controls": {"emit": false}, "locked": true}]'

# fields of forms that Airflow's audit log must not hold (docs/runbooks/privacy_erase_user.md)
ENV AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES=user_id,traced_value

RUN python -m include.dbt.command manifest
