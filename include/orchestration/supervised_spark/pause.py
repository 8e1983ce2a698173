"""Stopping the driver of a DAG that was paused: what its own task cannot do.

A deferred task has no process, its trigger has no way to ask Airflow whether a DAG is paused (Airflow 3.3), and the
scheduler starts no task of a paused DAG (docs/adr/0018-deferrable-supervision.md). A task of another DAG does.
"""

import logging
import time

import psycopg

from include.common.postgres import PostgresUnreachableError
from include.orchestration.job_environment import PROJECT_ROOT, data_dir, features_dsn
from include.orchestration.supervised_spark.control_row import record_stopped
from include.orchestration.supervised_spark.driver import Driver, Patience, environment
from include.orchestration.supervised_spark.driver_files import DriverFiles

log = logging.getLogger(__name__)


def is_paused(dag_id: str) -> bool:
    """Whether a person paused the DAG; from a running task."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return bool(RuntimeTaskInstance.get_dag(dag_id).is_paused)


def stop_driver(driver_name: str, why: str, patience: Patience | None = None) -> bool:
    """Ask driver `driver_name` to stop, if it runs and is not stopping already; whether it was asked.

    Also one that was asked before and has lost the launcher that would see to it, if it runs on this machine.
    """
    driver = Driver(DriverFiles(data_dir() / "drivers", driver_name), PROJECT_ROOT, patience or Patience())
    record = driver.to_be_stopped(time.time())
    if record is None:
        return False
    log.info("stopping driver %s: %s", driver_name, why)
    driver.stop(record, environment())
    try:
        record_stopped(features_dsn(), driver_name)
    except (PostgresUnreachableError, psycopg.Error) as error:
        log.warning("ops.stream_control does not know of the stop: %s", error)
    return True
