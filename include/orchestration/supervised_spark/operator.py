"""The task that keeps a detached Spark driver running."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

from include.common.names import Conn
from include.common.postgres import PostgresUnreachableError
from include.common.spark_conf import STREAM_DRIVER_MEMORY, stream_driver_conf
from include.orchestration.job_environment import PROJECT_ROOT, data_dir, jars_dir, job_environment
from include.orchestration.lineage import lineage_environment
from include.orchestration.supervised_spark.control_row import record_running, record_stopped
from include.orchestration.supervised_spark.driver import Driver, DriverError, Patience, environment
from include.orchestration.supervised_spark.driver_files import DriverFiles, DriverFilesError, DriverRecord
from include.orchestration.supervised_spark.task_state import task_state
from include.orchestration.supervised_spark.trigger import DriverTrigger

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

_UNWANTED = frozenset({"failed", "success", "skipped", "upstream_failed", "removed", "restarting"})
"""States of a task that a person has ended; `restarting` is one that was cleared while it ran."""


class DriverFailedError(AirflowException):
    """The driver ended, stalled or cannot start; the message has its last error lines. Retried with back-off."""


class SupervisedSparkSubmitOperator(BaseOperator):
    """Runs one Spark driver named `driver_name`, detached, for as long as it lives, and never two.

    The task starts the driver, or finds the one that runs (by the files under
    `<webtoon_data_dir>/drivers/<driver_name>/`, whatever died before), and defers: DriverTrigger watches from then on,
    and no worker slot is held. It resumes only to stop a driver that must be restarted and to fail: its retries are
    the restarts. Clearing the task, marking it or its run failed or successful, and deleting the run each stop the
    driver in good order (SIGTERM; SIGKILL after `patience.grace_s`); so does pausing the DAG, which
    `supervised_spark.pause` looks for. A driver that was asked to stop, or ends by itself with status 0, succeeds.
    One whose heartbeat stays away longer than `patience` allows, or of which the probe gives a reason, is restarted:
    `stalled` is the dotted path of a function without arguments that makes the probe. `links` are buttons on the task.

    `application` is a path from the project's root; `application_args` are templated, and `--heartbeat-file
    PATH` is added. Passwords travel in the environment that `include.orchestration.job_environment` fills, never
    in argv. Writes its row of ops.stream_control. An `execution_timeout` is for each stretch on a worker, the start and
    the end: Airflow 3.3 has none for a task while it is deferred.
    """

    template_fields: Sequence[str] = ("application_args",)
    ui_color = "#e8f0d8"

    def __init__(
        self,
        *,
        driver_name: str,
        application: str,
        application_args: list[str] | None = None,
        driver_memory: str = STREAM_DRIVER_MEMORY,
        conf: dict[str, str] | None = None,
        conn_id: str = Conn.SPARK,
        patience: Patience | None = None,
        poll_interval_s: float = 1.0,
        stalled: str | None = None,
        links: Sequence["BaseOperatorLink"] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.driver_name = driver_name
        self.application = application
        self.application_args = application_args or []
        self.driver_memory = driver_memory
        self.conf = stream_driver_conf(driver_memory) | (conf or {})
        self.conn_id = conn_id
        self.patience = patience or Patience()
        self.poll_interval_s = poll_interval_s
        self.stalled = stalled
        self.operator_extra_links = tuple(links)

    def execute(self, context: "Context") -> None:
        """Start the driver or find it, and defer."""
        try:
            self._prepare(context)
            record = self._running_driver()
        except (DriverError, DriverFilesError) as error:
            raise DriverFailedError(str(error)) from error
        pid = (record.driver or record.launcher).pid
        record_running(self._dsn, self.driver_name, pid, record.started_at, str(context["run_id"]))
        self._driver.files.mark_watched(record.token)
        self.defer(
            trigger=DriverTrigger(
                driver_name=self.driver_name,
                token=record.token,
                folder=str(self._driver.files.root.parent),
                patience=asdict(self.patience),
                stalled=self.stalled,
                poll_interval_s=self.poll_interval_s,
            ),
            method_name="end_driver",
        )

    def end_driver(self, context: "Context", event: Mapping[str, str]) -> NoReturn:
        """What the trigger hands back: see that the driver has ended, and fail with `event["reason"]`."""
        try:
            self._prepare(context)
            record = self._driver.files.record()
            if record is None or record.token != event["token"]:
                raise DriverFailedError(event["reason"])
            if self._driver.running() is not None:
                self._stop(record)
                self._driver.await_end()
        except (DriverError, DriverFilesError) as error:
            raise DriverFailedError(f"{event['reason']}; {error}") from error
        self._fail(record, event["reason"])

    def on_kill(self) -> None:
        """Stop the driver if a person ended this task; leave it to the next try if only our worker goes.

        Comes in a signal handler, 5 s before SIGKILL: a thread asks Airflow, since the work that was
        interrupted may be asking, too. The launcher sees a stop through without us.
        """
        threading.Thread(target=self._stop_if_unwanted, name="on_kill").start()

    # --- parts

    def _prepare(self, context: "Context") -> None:
        # not in on_kill: what answers there may be gone by then
        self._driver = Driver(
            DriverFiles(data_dir() / "drivers", self.driver_name), PROJECT_ROOT, self.patience
        )
        self._environment = environment() | job_environment() | lineage_environment(context["ti"])
        self._context = context

    @property
    def _dsn(self) -> str:
        return self._environment["WEBTOON_POSTGRES_DSN"]

    def _running_driver(self) -> DriverRecord:
        """The driver that runs, started by us if need be. Raises DriverError, DriverFilesError."""
        driver = self._driver
        driver.files.create()
        record = driver.running()
        if record is not None and driver.files.is_watched(record.token):
            # no trigger watches it any more: a person ended that task, and its stop may have been missed
            self.log.info("the driver of an earlier watch still runs: restarting it")
            driver.stop(record, self._environment)
        if record is not None and driver.files.is_stopping(record.token):
            self.log.info("the driver before this one is stopping: waiting for its end")
            if not driver.await_end():
                self._fail(record, "it was asked to stop and does not end")
            record = None
        if record is None:
            record = driver.launch(self._command(), self._environment)
            self.log.info("started driver %s, pid %d", self.driver_name, record.launcher.pid)
        else:
            self.log.info("a driver runs already that no task watches: reconnecting")
        return record

    def _stop(self, record: DriverRecord) -> None:
        self._driver.stop(record, self._environment)
        try:
            record_stopped(self._dsn, self.driver_name, connect_timeout_s=2)
        except (PostgresUnreachableError, psycopg.Error) as error:
            self.log.warning("ops.stream_control does not know of the stop: %s", error)

    def _stop_if_unwanted(self) -> None:
        """What on_kill does. An Airflow that does not answer wants nothing else."""
        ti = self._context["ti"]
        try:
            state = task_state(ti.dag_id, ti.run_id, ti.task_id)
        except AirflowRuntimeError as error:
            self.log.warning("Airflow does not say whether %s is still wanted: %s", self.driver_name, error)
            return
        record = self._driver.files.record()
        if state in _UNWANTED and record is not None and self._driver.files.is_running():
            self.log.info("stopping driver %s: this task is %s", self.driver_name, state)
            self._stop(record)

    def _command(self) -> list[str]:
        from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

        hook = SparkSubmitHook(
            conn_id=self.conn_id,
            name=self.driver_name,
            application_args=[*self.application_args, "--heartbeat-file", str(self._driver.files.heartbeat)],
            driver_memory=self.driver_memory,
            conf=self.conf,
            jars=",".join(str(jar) for jar in sorted(jars_dir().glob("*.jar"))),
        )
        # the hook has no public way to build a command without running it
        command: list[str] = hook._build_spark_submit_command(str(PROJECT_ROOT / self.application))
        binary = shutil.which(command[0])
        if binary is None:
            raise DriverFailedError(
                f"{command[0]} is not on PATH: install pyspark into the workers' environment, or set "
                f"spark-binary in connection {self.conn_id}"
            )
        return [binary, *command[1:]]

    def _fail(self, record: DriverRecord, reason: str) -> NoReturn:
        raise DriverFailedError(self._driver.failure(record, reason))
