"""DAG events__archive on a whole Airflow: a good slice, a corrupted one that is blocked, a good one, an empty one."""

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from include.common.kafka_offsets import watermarks
from include.common.migrate import migrate
from include.common.names import Dag, Topic
from tests.integration.batch_support import as_records, event, produce
from tests.integration.conftest import AirflowStack

TASKS = ("record_slice", "archive_slice", "gate_raw", "publish_slice", "quarantine_slice")


class ArchiveDag:
    """Runs the DAG, one run at a time."""

    def __init__(self, stack: AirflowStack) -> None:
        self.stack = stack
        self.kafka = stack.env["WEBTOON_KAFKA"]

    def run(self) -> tuple[str, dict[str, str]]:
        """State of a new run, and of its tasks."""
        run_id = self.stack.api.trigger(Dag.ARCHIVE)
        state = self.stack.api.wait_for_run(Dag.ARCHIVE, run_id, timeout_s=240)
        return state, self.stack.api.task_states(Dag.ARCHIVE, run_id)

    def archive(self, events: int) -> tuple[str, dict[str, str]]:
        """The same of the run that archived the newest slice: the schedule may have been faster than our run."""
        self.run()
        ((run_id, produced),) = self.sql(
            "SELECT run_id, produced FROM ops.archive_slices ORDER BY position DESC LIMIT 1"
        )
        assert produced == events
        state = self.stack.api.wait_for_run(Dag.ARCHIVE, str(run_id), timeout_s=240)
        return state, self.stack.api.task_states(Dag.ARCHIVE, str(run_id))

    def archived(self) -> dict[str, int]:
        """Rows of each Hive table, by what the slices so far say: other tests produce on the same topic."""
        ((raw, quarantined, dead),) = self.sql(
            "SELECT coalesce(sum(archived), 0)::int, coalesce(sum(quarantined), 0)::int,"
            " coalesce(sum(dead_letters), 0)::int FROM ops.archive_slices"
        )
        return {"raw_events": raw, "quarantined_events": quarantined, "dead_letters": dead}  # type: ignore[dict-item]

    def hive(self, query: str) -> list[tuple[object, ...]]:
        """Rows of a query through HiveServer2's protocol (Spark Thrift Server)."""
        from pyhive import hive

        port = self.stack.context.ports["thrift"]
        with hive.connect("127.0.0.1", port, auth="NOSASL") as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def sql(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.stack.feature_dsn) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]  # a test's own query


@pytest.fixture(scope="module")
def archive_dag(airflow_stack: AirflowStack) -> ArchiveDag:
    migrate(airflow_stack.feature_dsn)
    dag = ArchiveDag(airflow_stack)
    admin = AdminClient({"bootstrap.servers": dag.kafka})
    if Topic.EVENTS not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(Topic.EVENTS, num_partitions=3)])[Topic.EVENTS].result()
    with psycopg.connect(airflow_stack.feature_dsn) as connection:
        connection.execute(
            "INSERT INTO reference.episode_metadata (episode_id, title_id, title, episode_number, genre, tags, rating,"
            " launch_date, valid_from) SELECT 'ep' || number, 't', 'T', number + 1, 'drama', '{}', 8, '2026-01-01',"
            " '2026-01-01' FROM generate_series(0, 4) AS number ON CONFLICT DO NOTHING"
        )
    airflow_stack.api.wait_for_dags({Dag.ARCHIVE}, timeout_s=60)
    airflow_stack.api.set_paused(Dag.ARCHIVE, False)
    if any(marks.high for marks in watermarks({"bootstrap.servers": dag.kafka}, Topic.EVENTS).values()):
        dag.run()  # what other tests produced
    return dag


@pytest.mark.timeout(600)
def test_corrupted_slice_is_blocked_and_the_next_good_one_passes(archive_dag: ArchiveDag) -> None:
    done = dict.fromkeys(TASKS, "success") | {"quarantine_slice": "skipped"}
    before = archive_dag.archived()

    produce(archive_dag.kafka, Topic.EVENTS, [*as_records([event(n) for n in range(300)]), (None, b"x")])
    assert archive_dag.archive(301) == ("success", done)

    broken = [event(1000 + n, episode_id="undefined" if n % 2 else "ep1") for n in range(200)]
    produce(archive_dag.kafka, Topic.EVENTS, as_records(broken))
    blocked = done | {"gate_raw": "failed", "publish_slice": "upstream_failed", "quarantine_slice": "success"}
    assert archive_dag.archive(200) == ("failed", blocked)

    produce(archive_dag.kafka, Topic.EVENTS, as_records([event(2000 + n) for n in range(50)]))
    assert archive_dag.archive(50) == ("success", done)

    assert archive_dag.run() == ("success", dict.fromkeys(TASKS, "skipped") | {"record_slice": "success"})

    slices = "SELECT status, produced, archived, quarantined, dead_letters FROM ops.archive_slices ORDER BY position"
    assert archive_dag.sql(slices)[-3:] == [
        ("published", 301, 300, 0, 1), ("quarantined", 200, 0, 200, 0), ("published", 50, 50, 0, 0),
    ]  # fmt: skip
    quarantined = "SELECT failed_expectations, status FROM quality.quarantine_slices ORDER BY quarantined_at DESC LIMIT 1"
    assert archive_dag.sql(quarantined) == [(["unknown_episode_share"], "quarantined")]

    made = {"raw_events": 350, "quarantined_events": 200, "dead_letters": 1}
    tables = {table: before[table] + count for table, count in made.items()}
    assert {
        table: archive_dag.hive(f"SELECT count(*) FROM webtoon.{table}")[0][0] for table in tables
    } == tables
    raw = archive_dag.hive(
        "SELECT dt, hour, date_format(min(event_time), 'yyyy-MM-dd H'), date_format(max(event_time), 'yyyy-MM-dd H')"
        " FROM webtoon.raw_events GROUP BY dt, hour"
    )
    assert {(f"{dt} {hour}",) * 2 for dt, hour, _, _ in raw} == {row[2:] for row in raw}
    letters = archive_dag.hive("SELECT reason, hex(value) FROM webtoon.dead_letters WHERE dt >= '2026-01-01'")
    assert ("null_key", b"x".hex()) in letters
