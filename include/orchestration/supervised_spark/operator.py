"""The task that watches a detached Spark driver."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg
from airflow.sdk import BaseOperator, ResumableJobMixin
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

from include.common.kafka_offsets import KafkaUnreachableError
from include.common.names import Conn
from include.common.postgres import PostgresUnreachableError
from include.orchestration.job_environment import PROJECT_ROOT, data_dir, jars_dir, job_environment
from include.orchestration.supervised_spark.control_row import record_running, record_stopped
from include.orchestration.supervised_spark.driver import START_WITHIN_S, Driver, DriverError, Patience
from include.orchestration.supervised_spark.driver_files import DriverFiles, DriverFilesError, DriverRecord
from include.orchestration.supervised_spark.driver_log import LogFollower

if TYPE_CHECKING:
    from airflow.sdk import Context

RUNNING, ENDED = "RUNNING", "ENDED"
PROBE_EVERY_S = 60.0
ASK_EVERY_S = 10.0
_UNWANTED = frozenset({"failed", "success", "skipped", "upstream_failed", "removed", "restarting"})
"""States of a task that a person has ended; `restarting` is one that was cleared while it ran."""


class DriverFailedError(AirflowException):
    """The driver ended, stalled or cannot start; the message has its last error lines. Retried with back-off."""


class SupervisedSparkSubmitOperator(ResumableJobMixin, BaseOperator):
    """Runs one Spark driver named `driver_name`, detached, for as long as it lives, and never two.

    The driver outlives the death of this task, its worker and Airflow: whoever comes next reconnects, by the
    stored id or, where death came before that was stored, by the files under
    `<webtoon_data_dir>/drivers/<driver_name>/`. Pausing the DAG, clearing the task, marking it or its run failed
    or successful, and deleting the run each stop the driver in good order (SIGTERM; SIGKILL after
    `patience.grace_s`); after a pause the task succeeds. A driver that ends by itself with status 0 succeeds; else the
    task fails and its retries are the restarts. A driver whose heartbeat stays away longer than `patience`
    allows, or of which `stalled` (asked once a minute) gives a reason, is stopped and restarted.

    `application` is a path from the project's root; `application_args` are templated, and `--heartbeat-file
    PATH` is added. Passwords travel in the environment that `include.orchestration.job_environment` fills, never
    in argv. Writes its row of ops.stream_control. An `execution_timeout` would end the watching, not the driver.
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
        poll_interval_s: float = 1.0,
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
        self._unwanted: str | None = None
        self._told_to_leave = False

    def execute(self, context: "Context") -> Any:
        """Submit or reconnect, then watch until the driver ends."""
        try:
            # once, and not in on_kill: what answers there may be gone by then
            self._driver = Driver(
                DriverFiles(data_dir() / "drivers", self.driver_name), PROJECT_ROOT, self.patience
            )
            self._environment = _driver_environment()
            self._context = context
            return self.execute_resumable(context)
        except (DriverError, DriverFilesError) as error:
            raise DriverFailedError(str(error)) from error

    # --- what ResumableJobMixin asks for

    def submit_job(self, context: "Context") -> str:
        """Start the driver, or adopt the one that runs; returns its token."""
        driver = self._driver
        driver.files.create()
        record = driver.running()
        if record is not None and driver.files.is_stopping(record.token):
            self.log.info("the driver before this one is stopping: waiting for its end")
            if not driver.await_end():
                self._fail(record, "it was asked to stop and does not end")
            record = None
        if record is None:
            record = driver.launch(self._command(), self._environment)
            self.log.info("started driver %s, pid %d", self.driver_name, record.launcher.pid)
        else:
            self._adopt(record)
        pid = (record.driver or record.launcher).pid
        record_running(self._dsn, self.driver_name, pid, record.started_at, str(context["run_id"]))
        return record.token

    def get_job_status(self, external_id: Any, context: "Context") -> str:
        """RUNNING or ENDED."""
        record = self._driver.running()
        if record is None or record.token != external_id or self._driver.files.is_stopping(record.token):
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
        record = self._driver.files.record()
        if record is None or record.token != external_id:
            raise DriverFailedError(f"another driver named {self.driver_name} took this one's place")
        self.log.info("watching driver %s; its log: %s", self.driver_name, record.log)
        reconnected = time.time() - record.started_at > START_WITHIN_S
        follower = LogFollower(record.log, from_end=reconnected)
        self._watch(record, follower)
        self._show(follower)
        wrong = self._driver.ending(record)
        if wrong is not None and self._unwanted is None:
            self._fail(record, wrong)
        self.log.info("driver %s: %s", self.driver_name, wrong or "it ended with status 0")

    def get_job_result(self, external_id: Any, context: "Context") -> None:
        """Nothing for XCom."""

    def on_kill(self) -> None:
        """Stop the driver if a person ended this task; leave it to the next try if only our worker goes.

        Comes in a signal handler, 5 s before SIGKILL: a thread asks Airflow, since the work that was
        interrupted may be asking, too. The launcher sees a stop through without us.
        """
        threading.Thread(target=self._end, name="on_kill").start()

    # --- parts

    @property
    def _dsn(self) -> str:
        return self._environment["WEBTOON_POSTGRES_DSN"]

    def _watch(self, record: DriverRecord, follower: LogFollower) -> None:
        """Return when the driver has ended; raises DriverFailedError for one that must be restarted."""
        ask_now, probe_now = _Every(ASK_EVERY_S), _Every(PROBE_EVERY_S)
        while self._driver.files.is_running():
            self._show(follower)
            if self._told_to_leave:
                raise DriverFailedError(
                    f"this task was told to end and nobody ended its run (its worker stops, or lost Airflow): "
                    f"driver {self.driver_name} goes on, the next try watches it"
                )
            if ask_now():
                self._ask()
            if self._unwanted is not None:
                self._stop_unwanted(record)
            else:
                reason = self._driver.silence(record, time.time()) or (self._probe() if probe_now() else None)
                if reason is not None:
                    self._driver.stop(record, self._environment)
                    self._driver.await_end()
                    self._fail(record, reason)
            time.sleep(self.poll_interval_s)

    def _end(self) -> None:
        """What on_kill does."""
        self._ask()
        record = self._driver.files.record()
        if self._unwanted is None:
            self._told_to_leave = True
        elif record is not None and self._driver.files.is_running():
            self._stop_unwanted(record)

    def _ask(self) -> None:
        """Does a person still want the driver? An Airflow that does not answer wants nothing else."""
        try:
            self._unwanted = self._why_unwanted()
        except AirflowRuntimeError as error:
            self.log.warning("Airflow does not say whether %s is still wanted: %s", self.driver_name, error)

    def _stop_unwanted(self, record: DriverRecord) -> None:
        if self._driver.files.is_stopping(record.token):
            return
        self.log.info("stopping driver %s: %s", self.driver_name, self._unwanted)
        self._driver.stop(record, self._environment)
        try:
            record_stopped(self._dsn, self.driver_name, connect_timeout_s=2)
        except (PostgresUnreachableError, psycopg.Error) as error:
            self.log.warning("ops.stream_control does not know of the stop: %s", error)

    def _why_unwanted(self) -> str | None:
        """Raises AirflowRuntimeError."""
        ti = self._context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id])
        state = states.get(ti.run_id, {}).get(ti.task_id, "removed")
        if state in _UNWANTED:
            return f"this task is {state}"
        return "the DAG is paused" if ti.get_dag(ti.dag_id).is_paused else None

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

    def _probe(self) -> str | None:
        """What `stalled` says; a store that cannot be asked is no reason to stop the driver."""
        try:
            return None if self.stalled is None else self.stalled()
        except (PostgresUnreachableError, KafkaUnreachableError, psycopg.Error) as error:
            self.log.warning("cannot tell whether driver %s gets on: %s", self.driver_name, error)
            return None

    def _adopt(self, record: DriverRecord) -> None:
        self.log.info("a driver runs already, for %.0f s: reconnecting", time.time() - record.started_at)
        if record.argv != tuple(self._command()):
            self.log.warning(
                "it runs with an earlier command line; clear this task to restart it with today's"
            )

    def _show(self, follower: LogFollower) -> None:
        for line in follower.read():
            self.log.info("driver: %s", line)

    def _fail(self, record: DriverRecord, reason: str) -> NoReturn:
        raise DriverFailedError(self._driver.failure(record, reason))


class _Every:
    """True once in each `seconds`; the first time after as many."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def _driver_environment() -> dict[str, str]:
    """The driver's: ours without Airflow's (its secrets are not the driver's business)."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return inherited | job_environment()
