"""Composes a gate: one checkpoint over the suites of its subjects, with Data Docs and result collection.

Great Expectations is imported inside the functions: they run in a gate's task.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.common.settings import docs_root
from include.gx.results import ExpectationOutcome

FailingRows = Callable[[Mapping[str, Sequence[Any]]], Mapping[str, Sequence[str]]]
"""Gets, by the name of each expectation that failed, its rows; returns some of them as `topic[partition]@offset`."""
DOCS_SITE = "local"
_SOURCE = "gate"


@dataclass(frozen=True)
class Subject:
    """What a gate checks: `name` (a table's name, or a slice's), its rows and its suite.

    `batch` gets the GX data context and returns either a BatchDefinition or a pandas DataFrame (in memory;
    at most one subject of a gate may be a frame). `suite` returns an ExpectationSuite; its own name is
    replaced by `name`. Both are called inside the task.

    `failing_rows` is told which rows failed (once, also where none did): all index labels of a frame, or of a
    query at most 20 dicts with the columns that `located_by` names.
    """

    name: str
    suite: Callable[[], Any]
    batch: Callable[[Any], Any]
    failing_rows: FailingRows | None = None
    located_by: tuple[str, ...] = ()


def docs_dir() -> Path | None:
    """Folder of Data Docs (`gx/` inside the docs folder that the stack serves), or None where there is none."""
    root = docs_root()
    return root / "gx" if root else None


def postgres_query(gx_context: Any, connection_string: str, name: str, query: str) -> Any:
    """BatchDefinition over the rows of `query`; `connection_string` is a SQLAlchemy URL."""
    source = gx_context.data_sources.add_postgres(f"{_SOURCE}_{name}", connection_string=connection_string)
    return source.add_query_asset(name=name, query=query).add_batch_definition_whole_table(name)


def parquet(gx_context: Any, name: str, path: str | Path) -> Any:
    """BatchDefinition over one Parquet file, or a folder of them, read into memory by pandas."""
    asset = gx_context.data_sources.add_pandas(f"{_SOURCE}_{name}").add_parquet_asset(name=name, path=path)
    return asset.add_batch_definition(name)


def close_sources(gx_contexts: Iterable[Any]) -> None:
    """Close the database connections that GX opened for these data contexts."""
    for gx_context in gx_contexts:
        for source in gx_context.data_sources.all().values():
            if source.type == "postgres":
                source.get_execution_engine().close()
                source.get_engine().dispose()


def _prepare_context(gx_context: Any) -> str | None:
    """Quiet the progress bars, add the Data Docs site; returns the folder of kept results, None without docs."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    gx_context.variables.progress_bars = ProgressBarsConfig(globally=False)
    folder = docs_dir()
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    site = {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "validation_results_limit": 100},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "show_how_to_buttons": False,
    }
    for existing in list(gx_context.get_site_names()):
        gx_context.delete_data_docs_site(existing)
    gx_context.add_data_docs_site(site_name=DOCS_SITE, site_config=site)
    return str(folder.parent / "gx_results")


def build_checkpoint(
    gx_context: Any,
    gate: str,
    subjects: Sequence[Subject],
    sink: Callable[[list[ExpectationOutcome], list[str]], None],
) -> tuple[Any, dict[str, Any]]:
    """Checkpoint of `gate` over all `subjects`, and the batch parameters to run it with.

    `sink` receives every expectation's outcome and the Data Docs pages when the checkpoint runs.
    Raises ValueError where more than one subject is an in-memory frame, or one of several wants its failing rows.
    """
    import great_expectations as gx
    import pandas as pd

    from include.gx.actions import CollectOutcomesAction, RedactedDataDocsAction

    if len(subjects) > 1 and any(subject.failing_rows for subject in subjects):
        raise ValueError(f"gate {gate}: only a gate of one subject can be told its failing rows")
    store_dir = _prepare_context(gx_context)
    definitions = []
    parameters: dict[str, Any] = {}
    for subject in subjects:
        batch = subject.batch(gx_context)
        if isinstance(batch, pd.DataFrame):
            if parameters:
                raise ValueError(f"gate {gate}: only one subject of a gate may be an in-memory frame")
            parameters = {"dataframe": batch}
            source = gx_context.data_sources.add_pandas(f"{_SOURCE}_{subject.name}")
            batch = source.add_dataframe_asset(subject.name).add_batch_definition_whole_dataframe(
                subject.name
            )
        suite = subject.suite()
        suite.name = subject.name
        definitions.append(
            gx_context.validation_definitions.add(
                gx.ValidationDefinition(name=subject.name, data=batch, suite=gx_context.suites.add(suite))
            )
        )
    checkpoint = gx.Checkpoint(
        name=gate,
        validation_definitions=definitions,
        actions=[
            RedactedDataDocsAction(name="data_docs", site_names=[DOCS_SITE], store_dir=store_dir),
            CollectOutcomesAction(name="outcomes"),
        ],
        result_format=_result_format(subjects[0], frame=bool(parameters)),
    )
    checkpoint = gx_context.checkpoints.add(checkpoint)
    # GX copies what a checkpoint is built from
    checkpoint.actions[0].tell(subjects[0].failing_rows)
    checkpoint.actions[-1].send_to(sink)
    return checkpoint, parameters


def _result_format(subject: Subject, *, frame: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": 20}
    if subject.failing_rows is not None and frame:
        told |= {"result_format": "COMPLETE", "return_unexpected_index_query": False}
    elif subject.located_by:
        told |= {
            "unexpected_index_column_names": list(subject.located_by),
            "return_unexpected_index_query": False,
        }
    return told
