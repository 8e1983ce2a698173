"""Where the stores are, by Airflow connection: for tasks, and as the environment of the jobs they start.

Nothing here runs at parse. Passwords go from the connection into a child's environment, never into argv,
XCom or a rendered template.
"""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

from include.common.erasure.erasures import checked_key
from include.common.kafka.security import security_of
from include.common.names import Conn, Topic, Var
from include.common.settings import ERASURE_KEY_VARIABLE

LIBPQ_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs", "channel_binding")
"""Of a connection's extra: what goes into the URI. The rest of it is the Airflow hook's business."""
PROJECT_ROOT = Path(__file__).resolve().parents[2]


def features_dsn() -> str:
    """libpq URI of the feature database (connection postgres_features), password included: never log it."""
    return postgres_uri(Conn.POSTGRES)


def postgres_uri(conn_id: str) -> str:
    """libpq URI of a PostgreSQL connection, password included: never log it.

    TLS settings of its extra (LIBPQ_OPTIONS) go along.
    """
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(conn_id)
    user = quote(connection.login or "", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    server = f"{user}{password}@{connection.host}:{connection.port or 5432}/{connection.schema}"
    options = {name: str(value) for name, value in connection.extra_dejson.items() if name in LIBPQ_OPTIONS}
    return f"postgresql://{server}{'?' if options else ''}{urlencode(options)}"


def kafka_client_config() -> dict[str, str]:
    """librdkafka settings of connection kafka_default, `bootstrap.servers` among them."""
    from airflow.sdk import BaseHook

    return {name: str(value) for name, value in BaseHook.get_connection(Conn.KAFKA).extra_dejson.items()}


def erasure_secret() -> str:
    """The key of include.common.erasure.erasures (connection erasure_key); empty where there is no such connection."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(Conn.ERASURE_KEY).password or ""
    except AirflowNotFoundException:
        return ""


def erasure_key() -> bytes:
    """The key as include.common.erasure.erasures takes it; empty where there is none. Raises SettingsError for a bad one."""
    return checked_key(erasure_secret(), required=False)


def metastore_uri() -> str:
    """Thrift URI of the Hive metastore (connection metastore_default)."""
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(Conn.METASTORE)
    return f"thrift://{connection.host}:{connection.port}"


def data_dir() -> Path:
    """Folder of landing, checkpoints, staging and warehouse (variable webtoon_data_dir)."""
    from airflow.sdk import Variable

    return Path(Variable.get(Var.DATA_DIR))


def docs_url() -> str:
    """Where a browser finds the docs folder (variable webtoon_docs_url), with a slash at its end."""
    from airflow.sdk import Variable

    return f"{str(Variable.get(Var.DOCS_URL, default='http://localhost:18081')).rstrip('/')}/"


def events_topic() -> str:
    """Topic of reading events; WEBTOON_EVENTS_TOPIC in Airflow's environment names another one."""
    return os.environ.get("WEBTOON_EVENTS_TOPIC", Topic.EVENTS)


def jars_dir() -> Path:
    """Folder of Spark's extra jars (Kafka source, JDBC driver): WEBTOON_JARS_DIR, or `make jars`' folder."""
    return Path(os.environ.get("WEBTOON_JARS_DIR") or PROJECT_ROOT / ".jars" / "spark")


def job_environment() -> dict[str, str]:
    """What a Spark job of ours reads (include.common.settings), beside what Airflow's environment has."""
    kafka = kafka_client_config()
    return {
        "WEBTOON_KAFKA": kafka["bootstrap.servers"],
        "WEBTOON_KAFKA_SECURITY": json.dumps(security_of(kafka)),
        "WEBTOON_POSTGRES_DSN": features_dsn(),
        "WEBTOON_METASTORE_URI": metastore_uri(),
        "WEBTOON_DATA_DIR": str(data_dir()),
        "WEBTOON_EVENTS_TOPIC": events_topic(),
        ERASURE_KEY_VARIABLE: erasure_secret(),
        "WEBTOON_JARS_DIR": str(jars_dir()),
        "PYTHONPATH": str(PROJECT_ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
