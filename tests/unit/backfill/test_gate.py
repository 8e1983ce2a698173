"""The session gate's suite over staged rows: good ones pass, and a broken one is named."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from include.gx.checkpoints import Subject, build_checkpoint, parquet
from include.gx.results import ExpectationOutcome
from include.gx.suites.session_features import OUTLIER_COLUMNS, build_rebuilt_suite
from tests.backfill_case import rebuild_day
from tests.unit.backfill.test_rebuilt_days import DAY, SEEN, case


def checked(*files: Path) -> list[ExpectationOutcome]:
    import great_expectations as gx

    found: list[ExpectationOutcome] = []
    context = gx.get_context(mode="ephemeral")
    subjects = [_subject(number, file) for number, file in enumerate(files)]
    checkpoint, parameters = build_checkpoint(
        context, "session_features", subjects, lambda outcomes, _: found.extend(outcomes)
    )
    checkpoint.run(batch_parameters=parameters)
    return found


def _subject(number: int, file: Path) -> Subject:
    def rows(gx_context: Any) -> Any:
        return parquet(gx_context, f"rebuilt_{number}", file)

    return Subject(f"session_features-{number}", build_rebuilt_suite, rows)


def test_rebuilt_rows_pass_and_a_broken_one_blocks(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = case(tmp_path, *SEEN)
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY)
    file = Path(rebuilt.staged.folder) / "part-00000.parquet"
    table = pq.read_table(file, partitioning=None)
    country = table.schema.get_field_index("country")
    broken = tmp_path / "broken.parquet"
    pq.write_table(table.set_column(country, table.schema.field(country), [["ZZ", "KR", "KR"]]), broken)
    outcomes = checked(file, broken)
    failed = [it for it in outcomes if it.failed]
    assert [(it.subject, it.expectation, it.blocks) for it in failed] == [
        ("session_features-1", "country_allowed", True)
    ]
    assert len(outcomes) > 40
    assert not any(name in it.expectation for it in outcomes for name in OUTLIER_COLUMNS)
