"""The task that watches a detached Spark driver."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg
from airflow.sdk import BaseOperator, ResumableJobMixin
from airflow.sdk.exceptions import AirflowException

from include.common.kafka_offsets import KafkaUnreachableError
from include.common.names import Conn
from include.common.postgres import PostgresUnreachableError
from include.orchestration.job_environment import (
    PROJECT_ROOT,
    data_dir,
    features_dsn,
    jars_dir,
    job_environment,
)
from include.orchestration.supervised_spark.control_row import record_running, record_stopped
from include.orchestration.supervised_spark.driver import START_WITHIN_S, Driver, DriverError, Patience
from include.orchestration.supervised_spark.driver_files import DriverFiles, DriverRecord
from include.orchestration.supervised_spark.driver_log import LogFollower

if TYPE_CHECKING:
    from airflow.sdk import Context

RUNNING, ENDED = "RUNNING", "ENDED"
PROBE_EVERY_S = 60.0


class DriverFailedError(AirflowException):
    """The driver ended, stalled or cannot start; the message has its last error lines. Retried with back-off."""


class SupervisedSparkSubmitOperator(ResumableJobMixin, BaseOperator):
    """Runs one Spark driver named `driver_name`, detached, for as long as it lives, and never two.

    The driver outlives the death of this task, its worker and Airflow: whoever comes next reconnects, by the
    stored id or, where death came before that was stored, by the files under
    `<webtoon_data_dir>/drivers/<driver_name>/`. Clearing or failing the task stops the driver in good order
    (SIGTERM; SIGKILL after `patience.grace_s`). A driver that ends by itself with status 0 succeeds; else the
    task fails and its retries are the restarts. A driver whose heartbeat stays away longer than `patience`
    allows, or of which `stalled` (asked once a minute) gives a reason, is stopped and restarted.

    `application` is a path from the project's root; `application_args` are templated, and `--heartbeat-file
    PATH` is added. Passwords travel in the environment that `include.orchestration.job_environment` fills, never
    in argv. Writes its row of ops.stream_control.
    """

    external_id_key = "driver_token"
    template_fields: Sequence[str] = ("application_args",)
    ui_color = "#e8f0d8"

    def __init__(
        self,
        *,
        driver_name: str,
        application: str,
        application_args: list[str] | None = None,
        driver_memory: str = "1g",
        conf: dict[str, str] | None = None,
        conn_id: str = Conn.SPARK,
        patience: Patience | None = None,
        poll_interval_s: float = 2.0,
        stalled: Callable[[], str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.driver_name = driver_name
        self.application = application
        self.application_args = application_args or []
        self.driver_memory = driver_memory
        self.conf = conf or {}
        self.conn_id = conn_id
        self.patience = patience or Patience()
        self.poll_interval_s = poll_interval_s
        self.stalled = stalled
        self._asked_to_stop = False

    def execute(self, context: "Context") -> Any:
        """Submit or reconnect, then watch until the driver ends."""
        try:
            return self.execute_resumable(context)
        except DriverError as error:
            raise DriverFailedError(str(error)) from error

    # --- what ResumableJobMixin asks for

    def submit_job(self, context: "Context") -> str:
        """Start the driver, or adopt the one that runs; returns its token."""
        driver = self._driver()
        driver.files.create()
        record = driver.running()
        if record is not None and driver.files.is_stopping(record.token):
            self.log.info("the driver before this one is stopping: waiting for its end")
            if not driver.await_end():
                self._fail(driver, record, "it was asked to stop and does not end")
            record = None
        if record is None:
            record = driver.launch(self._command(driver.files), self._environment())
            self.log.info("started driver %s, pid %d", self.driver_name, record.launcher.pid)
        else:
            self._adopt(driver, record)
        pid = (record.driver or record.launcher).pid
        record_running(features_dsn(), self.driver_name, pid, record.started_at, str(context["run_id"]))
        return record.token

    def get_job_status(self, external_id: Any, context: "Context") -> str:
        """RUNNING or ENDED."""
        driver = self._driver()
        record = driver.running()
        if record is None or record.token != external_id or driver.files.is_stopping(record.token):
            return ENDED
        return RUNNING

    def is_job_active(self, status: str) -> bool:
        """See ResumableJobMixin."""
        return status == RUNNING

    def is_job_succeeded(self, status: str) -> bool:
        """Never, of a stored id: it survives success, and a cleared task must run again, not be skipped."""
        return False

    def poll_until_complete(self, external_id: Any, context: "Context") -> None:
        """Show the driver's log and watch its heartbeat until it ends; raises DriverFailedError."""
        driver = self._driver()
        record = driver.files.record()
        if record is None or record.token != external_id:
            raise DriverFailedError(f"another driver named {self.driver_name} took this one's place")
        reconnected = time.time() - record.started_at > START_WITHIN_S
        follower = LogFollower(record.log, from_end=reconnected)
        self.log.info("watching driver %s; its log: %s", self.driver_name, record.log)
        next_probe = time.monotonic() + PROBE_EVERY_S
        while driver.files.is_running():
            self._show(follower)
            reason = driver.silence(record, time.time())
            if reason is None and self.stalled is not None and time.monotonic() > next_probe:
                reason = self._probe(self.stalled)
                next_probe = time.monotonic() + PROBE_EVERY_S
            if reason is not None and not self._asked_to_stop:
                driver.stop(record, self._environment())
                driver.await_end()
                self._fail(driver, record, reason)
            time.sleep(self.poll_interval_s)
        self._show(follower)
        if self._asked_to_stop:
            raise DriverFailedError(f"driver {self.driver_name} was stopped because this task was")
        wrong = driver.ending(record)
        if wrong is not None:
            self._fail(driver, record, wrong)
        self.log.info("driver %s ended with status 0", self.driver_name)

    def get_job_result(self, external_id: Any, context: "Context") -> None:
        """Nothing for XCom."""

    def on_kill(self) -> None:
        """Ask the driver to stop. Airflow gives this process 5 s; the launcher sees the stop through."""
        self._asked_to_stop = True
        driver = self._driver()
        record = driver.files.record()
        if record is None or not driver.files.is_running():
            return
        driver.stop(record, self._environment())
        try:
            record_stopped(features_dsn(), self.driver_name, connect_timeout_s=2)
        except (PostgresUnreachableError, psycopg.Error) as error:
            self.log.warning("ops.stream_control does not know of the stop: %s", error)

    # --- parts

    def _driver(self) -> Driver:
        return Driver(DriverFiles(data_dir() / "drivers", self.driver_name), PROJECT_ROOT, self.patience)

    def _environment(self) -> dict[str, str]:
        """The driver's: ours without Airflow's (its secrets are not the driver's business)."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return inherited | job_environment()

    def _command(self, files: DriverFiles) -> list[str]:
        from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

        hook = SparkSubmitHook(
            conn_id=self.conn_id,
            name=self.driver_name,
            application_args=[*self.application_args, "--heartbeat-file", str(files.heartbeat)],
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

    def _probe(self, stalled: Callable[[], str | None]) -> str | None:
        """What `stalled` says; a store that cannot be asked is no reason to stop the driver."""
        try:
            return stalled()
        except (PostgresUnreachableError, KafkaUnreachableError, psycopg.Error) as error:
            self.log.warning("cannot tell whether driver %s gets on: %s", self.driver_name, error)
            return None

    def _adopt(self, driver: Driver, record: DriverRecord) -> None:
        self.log.info("a driver runs already, for %.0f s: reconnecting", time.time() - record.started_at)
        if record.argv != tuple(self._command(driver.files)):
            self.log.warning(
                "it runs with an earlier command line; clear this task to restart it with today's"
            )

    def _show(self, follower: LogFollower) -> None:
        for line in follower.read():
            self.log.info("driver: %s", line)

    def _fail(self, driver: Driver, record: DriverRecord, reason: str) -> NoReturn:
        raise DriverFailedError(driver.failure(record, reason))
