"""Where the stores are and which reader it is about: by Airflow's connections, settings and `ops.erasures`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from include.common.erasure.erasures import Erasure, checked_key, find_erasure
from include.common.names import Conn, Dag
from include.common.postgres import connect
from include.common.settings import docs_root
from include.orchestration.erasure.search import Places, lineage_folder
from include.orchestration.job_environment import (
    data_dir,
    erasure_secret,
    events_topic,
    features_dsn,
    kafka_client_config,
    metastore_uri,
    postgres_uri,
)


@contextmanager
def open_subject(erasure_id: int) -> Iterator[tuple[psycopg.Connection, str]]:
    """A connection to the feature database, and the id of the reader of erasure `erasure_id`.

    Raises LookupError for one that is unknown, or proven and forgotten.
    """
    key = checked_key(erasure_secret())
    with connect(features_dsn(), application_name=Dag.ERASE_USER) as connection:
        yield connection, subject_of(find_erasure(connection, key, erasure_id))


def subject_of(erasure: Erasure) -> str:
    """The reader's id; raises LookupError where it is forgotten."""
    if erasure.user_id is None:
        raise LookupError(f"erasure {erasure.erasure_id} is proven, and its id forgotten")
    return erasure.user_id


def find_places() -> Places:
    """All stores of this deployment; None for what it does not have or does not know."""
    from airflow.sdk.configuration import conf

    state = os.environ.get("WEBTOON_STATE_DIR")
    return Places(
        features_dsn=features_dsn(),
        airflow_dsn=airflow_dsn(),
        metastore_uri=metastore_uri(),
        data_dir=data_dir(),
        docs_dir=docs_root(),
        logs_dir=logs_dir(),
        lineage_dir=lineage_folder(conf.get("openlineage", "transport", fallback="")),
        state_dir=Path(state) if state else None,
        kafka=kafka_client_config(),
        topic=events_topic(),
    )


def airflow_dsn() -> str | None:
    """Airflow's own database, to read (connection airflow_metadata); None where there is no such connection."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return postgres_uri(Conn.AIRFLOW_METADATA)
    except AirflowNotFoundException:
        return None


def logs_dir() -> Path | None:
    """Folder of the task logs; None where they are kept elsewhere."""
    from airflow.sdk.configuration import conf

    if conf.getboolean("logging", "remote_logging", fallback=False):
        return None
    return Path(conf.get("logging", "base_log_folder"))
