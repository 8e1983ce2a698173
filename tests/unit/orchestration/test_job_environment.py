"""What a Spark job is told of Airflow's connections; passwords go into its environment and nowhere else."""

import json
from pathlib import Path

import pytest

from include.common.names import Conn, Pool, Topic
from include.common.settings import Settings
from include.orchestration import job_environment
from include.orchestration.spark_batch import SparkBatchOperator

CONNECTIONS = {
    Conn.POSTGRES: {
        "conn_type": "postgres", "host": "db.example", "login": "w@b", "password": "p:/?#", "schema": "features",
        "extra": {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "iam": True},
    },
    Conn.KAFKA: {"conn_type": "kafka", "extra": {
        "bootstrap.servers": "k1:9092,k2:9092", "socket.timeout.ms": 5000, "security.protocol": "SSL",
    }},
    Conn.METASTORE: {"conn_type": "hive_metastore", "host": "hms.example", "port": 9083},
}  # fmt: skip


@pytest.fixture(autouse=True)
def airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(content))
    monkeypatch.setenv("AIRFLOW_VAR_WEBTOON_DATA_DIR", "/data")


def test_the_dsn_quotes_what_it_must_and_takes_tls_settings_along() -> None:
    assert job_environment.features_dsn() == (
        "postgresql://w%40b:p%3A%2F%3F%23@db.example:5432/features?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
    )


def test_kafka_s_settings_are_text() -> None:
    wanted = {
        "bootstrap.servers": "k1:9092,k2:9092",
        "socket.timeout.ms": "5000",
        "security.protocol": "SSL",
    }
    assert job_environment.kafka_client_config() == wanted


def test_a_job_can_read_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = job_environment.job_environment()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    assert settings.bootstrap_servers == "k1:9092,k2:9092"
    assert settings.kafka_security == {"security.protocol": "SSL"}
    assert settings.postgres_dsn == job_environment.features_dsn()
    assert settings.metastore_uri == "thrift://hms.example:9083"
    assert settings.data_dir == Path("/data")
    assert settings.events_topic == Topic.EVENTS


def test_a_batch_operator_s_template_fields_hold_no_secret_and_its_job_is_there() -> None:
    operator = SparkBatchOperator(
        task_id="t", job="publish_features", application_args=["--run-id", "{{ run_id }}"]
    )
    assert Path(operator.application).is_file()
    assert operator.pool == Pool.SPARK
    rendered = json.dumps(
        {name: getattr(operator, name, None) for name in operator.template_fields}, default=str
    )
    assert "p:/?#" not in rendered
    assert "{{ run_id }}" in rendered
