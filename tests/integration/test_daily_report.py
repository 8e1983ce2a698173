"""DAG report__daily on a whole Airflow: the page of a day from Hive and PostgreSQL, the same again, and the message."""

import shutil
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS, SESSION_FEATURES
from include.common.migrate import migrate
from include.common.names import Dag
from local_stack.demo.clock import Clock
from local_stack.demo.runs import Runs
from local_stack.slack_receiver import as_text
from tests.daily_report_rows import BEFORE, DAY, write_day, write_week_before
from tests.integration.conftest import AirflowStack

AT = f"{DAY} 08:00:00+00"
ROWS = {
    "ops.stream_generations (generation, status, checkpoint, rules)": "9003, 'retired', 'c', '{}'",
    "ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)": (
        f"'report-test', 9003, 71, '{DAY} 23:00:00+00', 'published', '{DAY} 23:10:00+00'"
    ),
    "ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count, published_at)": (
        f"'session_features', 'dt={DAY}', 'report-test', (SELECT cut_id FROM ops.model_cuts WHERE run_id = 'report-test'),"
        f" 'l', 4, '{DAY} 23:20:00+00'"
    ),
    "quality.gate_results (gate, dag_id, run_id, subject, expectation, severity, success, unexpected_count, checked_at)": (
        f"'report_test', 'd', 'report-test', 's', 'one_that_fails', 'critical', false, 3, '{AT}'"
    ),
    "quality.quarantine_slices (slice_id, gate, run_id, row_count, failed_expectations, status, quarantined_at)": (
        f"'report-slice', 'raw_events', 'report-test', 40, '{{one_that_fails}}', 'quarantined', '{AT}'"
    ),
    "ops.deadline_misses (dag_id, run_id, state, allowed_s, missed_at)": (
        f"'features__model', 'report-test', 'running', 1200, '{AT}'"
    ),
    "ops.freshness (measured_at, table_name, published, p50_s, p99_s, slo_s, met)": (
        f"'{AT}', 'marts.user_features', 1, 1500, 1500, 1200, false"
    ),
    "reference.episode_metadata (episode_id, title_id, title, episode_number, genre, tags, rating, launch_date, valid_from)": (
        "'report-ep1', 'report-test', '달빛 우체국', 7, 'drama', '{}', 8, '2026-01-01', '-infinity'"
    ),
}
"""One row of each table that the report reads, by table and columns."""
CLEAN_UP = (
    f"DELETE FROM ops.freshness WHERE measured_at = '{AT}'",
    "DELETE FROM reference.episode_metadata WHERE title_id = 'report-test'",
    *(
        f"DELETE FROM {table} WHERE run_id = 'report-test'"
        for table in (
            "ops.deadline_misses", "quality.quarantine_slices", "quality.gate_results", "ops.publications", "ops.model_cuts"
        )
    ),
    "DELETE FROM ops.stream_generations WHERE generation = 9003",
)  # fmt: skip


def point(metastore: Metastore, folder: Path, dt: str) -> None:
    """Partitions of the day at what lies in `folder`."""
    hours = {(dt, hour.name): hour for hour in (folder / "events").iterdir()}
    metastore.point_partitions(RAW_EVENTS, hours)
    for table, name in ((SESSION_FEATURES, "readings"), (DEAD_LETTERS, "dead_letters")):
        if (folder / name).is_dir():
            metastore.point_partitions(table, {(dt,): folder / name})


@pytest.fixture
def store(airflow_stack: AirflowStack) -> Iterator[AirflowStack]:
    """DAY and BEFORE in the stack's Hive and PostgreSQL; they go when the test ends."""
    migrate(airflow_stack.feature_dsn)
    data = airflow_stack.context.paths.data
    folder = data / "report-test"
    write_day(folder / "day")
    write_week_before(folder / "before")
    with open_metastore(airflow_stack.context.metastore_uri) as metastore:
        for table in (RAW_EVENTS, DEAD_LETTERS, QUARANTINED_EVENTS, SESSION_FEATURES):
            metastore.ensure_table(table, data / "warehouse")
        point(metastore, folder / "day", str(DAY))
        point(metastore, folder / "before", str(BEFORE))
    with psycopg.connect(airflow_stack.feature_dsn) as connection:
        for table, values in ROWS.items():
            connection.execute(f"INSERT INTO {table} VALUES ({values})".encode())
    airflow_stack.api.wait_for_dags({Dag.REPORT_DAILY}, timeout_s=60)
    yield airflow_stack
    airflow_stack.api.set_paused(Dag.REPORT_DAILY, True)
    with psycopg.connect(airflow_stack.feature_dsn) as connection:
        for statement in CLEAN_UP:
            connection.execute(statement.encode())
    with open_metastore(airflow_stack.context.metastore_uri) as metastore:
        for table in (RAW_EVENTS, DEAD_LETTERS, SESSION_FEATURES):
            for values in metastore.all_locations(table):
                if values[0] in (str(DAY), str(BEFORE)):
                    metastore._client.drop_partition(metastore.database, table.name, list(values), False)
    shutil.rmtree(folder)


def test_a_day_becomes_a_page_the_same_again_and_a_message_with_its_link(store: AirflowStack) -> None:
    told = len(store.slack.messages())
    runs = Runs(store.api, Clock(steps=1))

    def page(name: str) -> str:
        address = f"http://{store.context.ports.address('docs')}/reports/{name}.html"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())

    def run(conf: dict[str, Any] | None) -> str:
        run_id = runs.start(Dag.REPORT_DAILY, conf)
        assert store.api.wait_for_run(Dag.REPORT_DAILY, run_id, timeout_s=120) == "success"
        return run_id

    due = store.api.run(Dag.REPORT_DAILY, run(None))["run_after"]
    run({"date": str(DAY)})
    first = page(str(DAY))
    for words in (
        "Wednesday, 2026-10-07", "달빛 우체국, 7", "gate report_test blocked 1 of 1 runs", "1 slice (40 events)",
        "freshness SLO missed by 1 table: marts.user_features", "1 deadline missed: features__model", "bad_json",
        "(ledger position 71, events up to 2026-10-07 23:00:00 UTC), published 2026-10-07 23:20:00 UTC",
        "KR: completion 50.0 %, 100.0 % the week before",
    ):  # fmt: skip
        assert words in first, words
    assert "secret" not in first
    assert f'href="{DAY}.html"' in page("index")
    scheduled = datetime.fromisoformat(due).date() - timedelta(days=1)
    assert str(scheduled) in page(str(scheduled)), "what the schedule's own run was about"

    run({"date": str(DAY)})
    assert page(str(DAY)) == first

    texts = [as_text(message["payload"]) for message in store.slack.messages()[told:]]
    messages = [text for text in texts if f"Daily report {DAY}" in text]
    assert len(messages) == 2
    assert messages[0] == messages[1]
    assert "12 events (+50.0 %), 4 readings (−66.7 %), against 2026-09-30" in messages[0]
    assert f"/reports/{DAY}.html|Open the report>" in messages[0]
    assert "docs/runbooks/report_daily.md" in messages[0]
