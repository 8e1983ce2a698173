"""The whole platform at work beside the stream: Airflow runs the archive and a model, again and again."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from benchmarks.stack import BenchmarkError, BenchStack
from include.common.names import Dag
from local_stack import airflow_native
from local_stack.airflow_api import AirflowApi
from local_stack.demo.clock import Clock
from local_stack.demo.runs import Runs
from local_stack.demo.steps import all_dags
from local_stack.errors import StackError

COMPONENTS = ("metastore", "thrift", "slack", "docs", "airflow")
RUN_LIMIT_S = 900.0


class Platform:
    """The stack's Airflow, with the stream as the DAG that supervises it."""

    def __init__(self, bench: BenchStack) -> None:
        context = bench.context
        self._api = AirflowApi(
            airflow_native.base_url(context), airflow_native.ADMIN, airflow_native.admin_password(context)
        )
        self._runs = Runs(self._api, Clock(0))
        self.ended: Counter[str] = Counter()
        self._error: StackError | None = None

    def start(self) -> None:
        """Make and load everything, and start the stream and its ticks."""
        with redirect_stdout(sys.stderr):
            self._api.wait_for_dags(set(all_dags()), timeout_s=180)
            self._runs.complete(Dag.MIGRATE_STORE, limit_s=300)
            self._runs.complete(Dag.REFERENCE_LOAD, limit_s=300)
            self._runs.unpause(Dag.SESSIONIZE, Dag.SEND_TICK)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Archive and model runs one after the other, until the end of the context."""
        stop = threading.Event()
        thread = threading.Thread(target=self._work, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if self._error is not None:
            raise BenchmarkError(f"a run beside the stream failed: {self._error}") from self._error

    def _work(self, stop: threading.Event) -> None:
        try:
            with redirect_stdout(sys.stderr):
                self._runs.unpause(Dag.PUBLISH_BATCH)
                while not stop.is_set():
                    for dag_id in (Dag.ARCHIVE, Dag.MODEL):
                        self._runs.complete(dag_id, limit_s=RUN_LIMIT_S)
                        self.ended[dag_id] += not stop.is_set()
        except StackError as error:
            self._error = error
