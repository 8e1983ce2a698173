"""The project's connections, variables and pools as the native stack gives them to Airflow.

Which there are, defaults and pools stand in include.orchestration.connections; here are this stack's values.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from include.common.names import Conn, Var
from include.orchestration.connections import POOLS, VARIABLES
from local_stack.context import AIRFLOW_READER, Context
from local_stack.credentials import password
from local_stack.paths import PROJECT_ROOT
from local_stack.ports import HOST


def connections(context: Context) -> dict[str, dict[str, Any]]:
    """Airflow connection by id, in the form that AIRFLOW_CONN_* takes as JSON."""
    dsn = urlsplit(context.features_dsn)
    return {
        Conn.KAFKA: {
            "conn_type": "kafka",
            "extra": {"bootstrap.servers": context.ports.address("kafka"), "group.id": "webtoon-airflow"},
        },
        Conn.POSTGRES: {
            "conn_type": "postgres", "host": HOST, "port": context.ports["postgres"], "login": dsn.username,
            "password": dsn.password, "schema": dsn.path.lstrip("/"),
        },
        Conn.SPARK: {
            "conn_type": "spark", "host": "local[2]",
            "extra": {"deploy-mode": "client", "spark-binary": "spark-submit"},
        },
        Conn.HIVESERVER2: {
            "conn_type": "hiveserver2", "host": HOST, "port": context.ports["thrift"], "schema": "default",
            "extra": {"auth_mechanism": "NOSASL"},
        },
        Conn.METASTORE: {"conn_type": "hive_metastore", "host": HOST, "port": context.ports["metastore"]},
        Conn.SLACK: {
            "conn_type": "slackwebhook", "schema": "http", "host": f"{context.ports.address('slack')}/services",
            "password": "T/B/X",
        },
        Conn.ERASURE_KEY: {
            "conn_type": "generic", "password": password(context.paths.secrets, Conn.ERASURE_KEY),
        },
        Conn.AIRFLOW_METADATA: {
            "conn_type": "postgres", "host": HOST, "port": context.ports["postgres"], "login": AIRFLOW_READER,
            "password": password(context.paths.secrets, f"postgres_{AIRFLOW_READER}"), "schema": "airflow",
        },
        Conn.AIRFLOW_API: {
            "conn_type": "http", "schema": "http", "host": HOST, "port": context.ports["airflow"], "login": "admin",
            "password": password(context.paths.secrets, "airflow_admin"),
        },
    }  # fmt: skip


def connection_env(context: Context) -> dict[str, str]:
    """AIRFLOW_CONN_<ID>."""
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections(context).items()}


def variables(context: Context) -> dict[str, str]:
    """Airflow variables by key."""
    return {
        Var.DATA_DIR: str(context.paths.data),
        Var.RUNBOOK_URL: (PROJECT_ROOT / "docs" / "runbooks").as_uri() + "/",
        Var.DOCS_URL: f"http://{context.ports.address('docs')}/",
        **limits(),
    }


def limits() -> dict[str, str]:
    """Variables with a default: kept in Airflow's database, where a person can change them."""
    return {spec.key: spec.default for spec in VARIABLES if spec.default is not None}


def variable_env(context: Context) -> dict[str, str]:
    """AIRFLOW_VAR_<KEY> of the others: they belong to this stack, and the environment wins over the database."""
    return {
        f"AIRFLOW_VAR_{name.upper()}": value
        for name, value in variables(context).items()
        if name not in limits()
    }


def pools() -> list[tuple[str, int, str]]:
    """(name, slots, description)."""
    return [(spec.name, spec.slots, spec.description) for spec in POOLS]
