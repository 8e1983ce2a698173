"""DAG events__archive on a whole Airflow: a good slice, a corrupted one that is blocked, a good one, an empty one.

And quality__release_slice, which decides on what was blocked.
"""

import urllib.request
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from include.common.kafka.offsets import watermarks
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

    def decide(
        self, slice_id: str, decision: str, *, dry_run: bool = False
    ) -> tuple[str, dict[str, str], int]:
        """State of a run of quality__release_slice and of its tasks; how often it announced raw_events."""
        form = {"slice_id": slice_id, "decision": decision, "reason": "a test", "dry_run": dry_run}
        run_id = self.stack.api.trigger(Dag.RELEASE_SLICE, form)
        state = self.stack.api.wait_for_run(Dag.RELEASE_SLICE, run_id, timeout_s=120)
        told = self.stack.api.call("GET", f"/assets/events?source_run_id={quote(run_id)}")
        tasks = self.stack.api.task_states(Dag.RELEASE_SLICE, run_id)
        return state, tasks, len(told["asset_events"])

    def newest_slice(self) -> str:
        ((slice_id,),) = self.sql("SELECT slice_id FROM ops.archive_slices ORDER BY position DESC LIMIT 1")
        return str(slice_id)

    def decided(self, slice_id: str) -> list[tuple[object, ...]]:
        """Status, who and why, of the slice and of its quarantine entry."""
        what = "status, decided_by, decision_reason, decided_at IS NOT NULL FROM"
        return [
            self.sql(f"SELECT {what} {table} WHERE slice_id = '{slice_id}'")[0]
            for table in ("ops.archive_slices", "quality.quarantine_slices")
        ]

    def read(self, slice_id: str, *, refresh: bool = False) -> dict[str, int]:
        """Rows of the slice that HiveServer2 reads, by table; `refresh` where nobody has told it of new files."""
        query = "SELECT count(*) FROM webtoon.{} WHERE slice_id = '{}'"
        if refresh:
            self.refresh()
        return {
            table: self.hive(query.format(table, slice_id))[0][0]  # type: ignore[misc]  # a count
            for table in ("raw_events", "quarantined_events", "dead_letters")
        }

    def refresh(self) -> None:
        """Let the Thrift Server look at the files anew."""
        from pyhive import hive

        port = self.stack.context.ports["thrift"]
        with hive.connect("127.0.0.1", port, auth="NOSASL") as connection, connection.cursor() as cursor:
            for table in ("raw_events", "quarantined_events", "dead_letters"):
                cursor.execute(f"REFRESH TABLE webtoon.{table}")

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
            return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def archive_dag(airflow_stack: AirflowStack) -> Iterator[ArchiveDag]:
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
    airflow_stack.api.wait_for_dags({Dag.ARCHIVE, Dag.RELEASE_SLICE}, timeout_s=60)
    for dag_id in (Dag.ARCHIVE, Dag.RELEASE_SLICE):
        airflow_stack.api.set_paused(dag_id, False)
    if any(marks.high for marks in watermarks({"bootstrap.servers": dag.kafka}, Topic.EVENTS).values()):
        dag.run()  # what other tests produced
    yield dag
    for dag_id in (Dag.ARCHIVE, Dag.RELEASE_SLICE):  # scheduled runs would meet slices of other tests
        airflow_stack.api.set_paused(dag_id, True)


@pytest.fixture(scope="module")
def blocked(archive_dag: ArchiveDag) -> str:
    """A slice of 200 events, half of them of unknown episodes, and a dead letter: its gate has refused it."""
    return block(archive_dag, 200)


@pytest.mark.timeout(600)
def test_corrupted_slice_is_blocked_and_the_next_good_one_passes(
    archive_dag: ArchiveDag, blocked: str
) -> None:
    before = archive_dag.archived()
    done = dict.fromkeys(TASKS, "success") | {"quarantine_slice": "skipped"}
    produce(archive_dag.kafka, Topic.EVENTS, [*as_records([event(n) for n in range(300)]), (None, b"x")])
    assert archive_dag.archive(301) == ("success", done)

    assert archive_dag.run() == ("success", dict.fromkeys(TASKS, "skipped") | {"record_slice": "success"})

    slices = "SELECT status, produced, archived, quarantined, dead_letters FROM ops.archive_slices ORDER BY position"
    assert archive_dag.sql(slices)[-2:] == [("quarantined", 201, 0, 200, 1), ("published", 301, 300, 0, 1)]
    quarantined = "SELECT failed_expectations, status FROM quality.quarantine_slices ORDER BY quarantined_at DESC LIMIT 1"
    assert archive_dag.sql(quarantined) == [(["unknown_episode_share"], "quarantined")]

    made = {"raw_events": 300, "quarantined_events": 0, "dead_letters": 1}
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


def block(archive_dag: ArchiveDag, events: int) -> str:
    """A slice that its gate refuses; returns its id."""
    broken = [event(9000 + n, episode_id="undefined" if n % 2 else "ep1") for n in range(events)]
    produce(archive_dag.kafka, Topic.EVENTS, [*as_records(broken), (None, b"x")])
    refused = {"gate_raw": "failed", "publish_slice": "upstream_failed"}
    assert archive_dag.archive(events + 1) == ("failed", dict.fromkeys(TASKS, "success") | refused)
    return archive_dag.newest_slice()


def opened(address: str, token: str | None = None) -> str:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


@pytest.mark.timeout(600)
def test_a_blocked_slice_is_released_or_discarded_by_a_person(archive_dag: ArchiveDag, blocked: str) -> None:
    slice_id = blocked
    waiting = {"raw_events": 0, "quarantined_events": 200, "dead_letters": 1}
    assert archive_dag.read(slice_id, refresh=True) == waiting
    broke = archive_dag.hive(
        "SELECT episode_id, count(*) FROM webtoon.quarantined_events"
        f" WHERE slice_id = '{slice_id}' AND array_contains(failed_expectations, 'unknown_episode_share') GROUP BY 1"
    )
    assert broke == [("undefined", 100)]

    only_decided = {"decide": "success", "release_slice": "skipped", "discard_slice": "skipped"}
    assert archive_dag.decide(slice_id, "release", dry_run=True) == ("success", only_decided, 0)
    assert archive_dag.read(slice_id) == waiting

    released = only_decided | {"release_slice": "success"}
    assert archive_dag.decide(slice_id, "release") == ("success", released, 1)
    assert archive_dag.read(slice_id) == {"raw_events": 200, "quarantined_events": 0, "dead_letters": 1}
    told = ("admin", "a test", True)
    assert archive_dag.decided(slice_id) == [("published", *told), ("released", *told)]
    everything = archive_dag.archived()
    assert {
        table: archive_dag.hive(f"SELECT count(*) FROM webtoon.{table}")[0][0] for table in everything
    } == everything

    other = block(archive_dag, 40)
    discarded = only_decided | {"discard_slice": "success"}
    assert archive_dag.decide(other, "discard") == ("success", discarded, 0)
    assert archive_dag.read(other, refresh=True) == {
        "raw_events": 0,
        "quarantined_events": 40,
        "dead_letters": 1,
    }
    assert archive_dag.decided(other) == [("discarded", *told), ("discarded", *told)]
    state, tasks, announced = archive_dag.decide(other, "release")
    assert (state, tasks["decide"], tasks["release_slice"], announced) == (
        "failed", "failed", "upstream_failed", 0,
    )  # fmt: skip


def test_the_gate_leads_to_its_data_docs_and_its_history(archive_dag: ArchiveDag) -> None:
    api = archive_dag.stack.api
    ((run_id,),) = archive_dag.sql(
        "SELECT run_id FROM quality.quarantine_slices ORDER BY quarantined_at DESC LIMIT 1"
    )
    task = f"/dags/{Dag.ARCHIVE}/dagRuns/{quote(str(run_id), safe='')}/taskInstances/gate_raw"
    links = api.call("GET", f"{task}/links")["extra_links"]
    assert "Evaluated Expectations" in opened(links["Data Docs"])
    assert links["Gate history"] == f"{api.base_url}/gate-history/?gate=raw_events"
    page = opened(links["Gate history"], api.token())
    assert "<td>unknown_episode_share</td><td>critical</td>" in page
    assert "country_drift" in page
