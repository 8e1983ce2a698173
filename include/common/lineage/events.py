"""OpenLineage events of our Spark jobs, and the names of their datasets.

The jobs write through ADBC, pyarrow and the metastore, past Spark's query plans, so no listener inside Spark could see
what they read and write (docs/adr/0027). Where events go is said by OpenLineage's own variables, which the operators
fill from Airflow's setting: OPENLINEAGE__TRANSPORT, OPENLINEAGE_NAMESPACE, OPENLINEAGE_PARENT_ID and
OPENLINEAGE_ROOT_PARENT_ID (`<namespace>/<job>/<run id>`). Without a transport nothing is emitted.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from include.common.hive.schema import Column, HiveTable
from include.common.names import Hive

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

TRANSPORT: Final = "OPENLINEAGE__TRANSPORT"
NAMESPACE: Final = "OPENLINEAGE_NAMESPACE"
PARENT: Final = "OPENLINEAGE_PARENT_ID"
ROOT: Final = "OPENLINEAGE_ROOT_PARENT_ID"
DEFAULT_NAMESPACE: Final = "webtoon"
KEEP_DAYS: Final = 7
"""How long files of events are kept by default."""
PRODUCER: Final = "https://github.com/OpenLineage/OpenLineage/tree/main/client/python"
NOT_SENT: Final = (OSError, RuntimeError, ValueError, TypeError, KeyError, ImportError)
"""What a transport that is wrongly set, or a backend that is away, raises."""


@dataclass(frozen=True)
class Dataset:
    """A dataset by OpenLineage's naming; `columns` for its schema facet, empty where they are not known."""

    namespace: str
    name: str
    columns: Sequence[Column] = ()


def topic_dataset(bootstrap_servers: str, topic: str, columns: Sequence[Column] = ()) -> Dataset:
    """A Kafka topic, on the first of the brokers."""
    return Dataset(f"kafka://{bootstrap_servers.split(',')[0]}", topic, columns)


def postgres_dataset(dsn: str, table: str) -> Dataset:
    """A table (schema-qualified) of the database that a libpq URI names; the password goes nowhere."""
    parts = urlsplit(dsn)
    return Dataset(f"postgres://{parts.hostname}:{parts.port or 5432}", f"{parts.path.lstrip('/')}.{table}")


def hive_dataset(metastore_uri: str, table: HiveTable, database: str = Hive.DATABASE) -> Dataset:
    """A Hive table."""
    parts = urlsplit(metastore_uri)
    return Dataset(
        f"hive://{parts.hostname}:{parts.port}",
        f"{database}.{table.name}",
        (*table.columns, *table.partitions),
    )


def folder_dataset(path: Path, columns: Sequence[Column] = ()) -> Dataset:
    """A folder on a local or mounted file system."""
    return Dataset("file", str(path), columns)


@contextmanager
def job_run(
    name: str,
    inputs: Sequence[Dataset],
    outputs: Sequence[Dataset],
    *,
    streaming: bool = False,
    called_off: type[Exception] | None = None,
) -> Iterator[None]:
    """START now, COMPLETE at the end, FAIL with the error's first line where the body raises, ABORT for `called_off`.

    An event that cannot be sent is told on stderr and fails nothing.
    """
    if not os.environ.get(TRANSPORT):
        yield
        return
    emit = _emitter(name, inputs, outputs, streaming)
    emit("START", None)
    try:
        yield
    except BaseException as error:
        off = called_off is not None and isinstance(error, called_off)
        emit("ABORT" if off else "FAIL", error)
        raise
    emit("COMPLETE", None)


def _emitter(name: str, inputs: Sequence[Dataset], outputs: Sequence[Dataset], streaming: bool) -> Any:
    """`emit(state, error)` of one run; after the first fault it is silent."""
    try:
        from openlineage.client import OpenLineageClient
        from openlineage.client.uuid import generate_new_uuid

        client, run_id = OpenLineageClient(), str(generate_new_uuid())
    except NOT_SENT as error:
        return _tell(error)
    broken = False

    def emit(state: str, error: BaseException | None) -> None:
        nonlocal broken
        if broken:
            return
        try:
            client.emit(run_event(state, name, run_id, inputs, outputs, streaming=streaming, error=error))
        except NOT_SENT as fault:
            broken = True
            _tell(fault)

    return emit


def emit_as_child(events: Sequence["RunEvent"], environment: Mapping[str, str]) -> None:
    """Send events that another library made, with the parent that `environment` names. Raises one of NOT_SENT."""
    from openlineage.client import OpenLineageClient

    client = OpenLineageClient(config={"transport": json.loads(environment[TRANSPORT])})
    for event in events:
        event.run.facets = {**(event.run.facets or {}), **_parent_facet(environment)}
        client.emit(event)
    client.close()


def _tell(error: Exception) -> Any:
    print(f"lineage: events are not sent: {error}", file=sys.stderr, flush=True)
    return lambda state, error: None


def run_event(
    state: str,
    name: str,
    run_id: str,
    inputs: Sequence[Dataset],
    outputs: Sequence[Dataset],
    *,
    streaming: bool = False,
    error: BaseException | None = None,
    environment: Mapping[str, str] = os.environ,
) -> "RunEvent":
    """An event of a Spark job of ours; its parent is the Airflow task that started it."""
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import error_message_run, job_type_job

    facets = _parent_facet(environment)
    if error is not None:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=first, programmingLanguage="PYTHON"
        )
    kind = job_type_job.JobTypeJobFacet(
        processingType="STREAMING" if streaming else "BATCH", integration="SPARK", jobType="JOB"
    )
    return event_v2.RunEvent(
        eventType=event_v2.RunState(state),
        eventTime=datetime.now(UTC).isoformat(),
        run=event_v2.Run(runId=run_id, facets=facets),
        job=event_v2.Job(
            namespace=environment.get(NAMESPACE, DEFAULT_NAMESPACE), name=name, facets={"jobType": kind}
        ),
        inputs=[_input(dataset) for dataset in inputs],
        outputs=[_output(dataset) for dataset in outputs],
        producer=PRODUCER,
    )


def _parent_facet(environment: Mapping[str, str]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import parent_run

    if not environment.get(PARENT):
        return {}
    namespace, job, run_id = environment[PARENT].rsplit("/", 2)
    root = None
    if environment.get(ROOT):
        of_root = environment[ROOT].rsplit("/", 2)
        root = parent_run.Root(
            job=parent_run.RootJob(namespace=of_root[0], name=of_root[1]),
            run=parent_run.RootRun(runId=of_root[2]),
        )
    return {
        "parent": parent_run.ParentRunFacet(
            job=parent_run.Job(namespace=namespace, name=job), run=parent_run.Run(runId=run_id), root=root
        )
    }


def _input(dataset: Dataset) -> "InputDataset":
    from openlineage.client.event_v2 import InputDataset

    return InputDataset(dataset.namespace, dataset.name, facets=_facets(dataset))


def _output(dataset: Dataset) -> "OutputDataset":
    from openlineage.client.event_v2 import OutputDataset

    return OutputDataset(dataset.namespace, dataset.name, facets=_facets(dataset))


def _facets(dataset: Dataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    if not dataset.columns:
        return {}
    fields = [
        schema_dataset.SchemaDatasetFacetFields(
            name=column.name, type=str(column.type), description=column.comment or None
        )
        for column in dataset.columns
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}


def transport_setting(folder: Path) -> str:
    """Airflow's `[openlineage] transport` for files by day in `folder`."""
    return json.dumps(
        {
            "type": "include.common.lineage.files.DailyFileTransport",
            "log_file_path": str(folder / "events"),
            "keep_days": KEEP_DAYS,
        }
    )


EMISSION_POLICY: Final = json.dumps(
    [
        {"scope": {}, "controls": {"include_source_code": False}},
        # every minute or so, 5 kB an event, and they move no data
        {
            "scope": {"dag_id": "stream__send_tick|.*__watch_.*"},
            "match_mode": "regex",
            "controls": {"emit": False},
        },
        # what is typed into these forms names a reader, and a run's form goes with its events
        {
            "scope": {"dag_id": "privacy__.*|ops__trace_value"},
            "match_mode": "regex",
            "controls": {"emit": False},
            "locked": True,
        },
    ]
)
"""Airflow's `[openlineage] emission_policy`."""
