"""Generations side by side on a real PostgreSQL: begun, filled, compared, swapped, dropped, rolled back."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.common.names import Dag
from include.contract.rules import SessionRules
from include.contract.sessions import Reading
from include.orchestration.roll_out import generations, tables
from include.orchestration.roll_out.comparison import PERSONAL, compare
from include.orchestration.roll_out.generations import RollOutError
from include.orchestration.roll_out.swap import Patience, swap
from include.spark_jobs.stream_sessionize.generations import (
    GenerationError,
    Plan,
    SupersededError,
    current_or_first,
    numbered,
)
from tests.integration.lineage_of_commits import HOUR_MS, OPEN, START_MS, Lineage, reading
from tests.integration.stream_support import scalar

QUICK = Patience(level_s=5, readers_s=5)


class Store:
    """One feature database, whose stream has begun."""

    def __init__(self, dsn: str, landing: Path) -> None:
        self.dsn = dsn
        self.landing = landing
        with psycopg.connect(dsn) as connection:
            current_or_first(connection, Path("none"), {"0": 0}, {})
        self.lineages = [Lineage(dsn, landing, 1)]
        self.first = self.lineages[0]

    def begin(self, run_id: str = "run", plan: Plan | None = None) -> Lineage:
        """A shadow generation."""
        number = generations.begin(self.dsn, run_id, plan or Plan(), {"0": 0})
        self.lineages.append(Lineage(self.dsn, self.landing, number, plan))
        return self.lineages[-1]

    def close(self) -> None:
        """End all drivers."""
        for lineage in self.lineages:
            lineage.writer.close()

    def rows(self, schema: str) -> dict[str, list[Any]]:
        """Every row of every table, but for what the micro-batches say about themselves."""
        with psycopg.connect(self.dsn) as connection:
            return {
                table: connection.execute(
                    sql.SQL(
                        "SELECT to_jsonb(t) - 'generation' - 'batch_id' - 'ledger_position' - 'committed_at'"
                        " FROM {} AS t ORDER BY 1"
                    ).format(sql.Identifier(schema, table))
                ).fetchall()
                for table in tables.names(connection, schema)
            }

    def statuses(self) -> dict[int, str]:
        """Generation -> status."""
        with psycopg.connect(self.dsn) as connection:
            return dict(
                connection.execute("SELECT generation, status FROM ops.stream_generations").fetchall()
            )


@pytest.fixture
def store(feature_db: str, tmp_path: Path) -> Iterator[Store]:
    made = Store(feature_db, tmp_path)
    yield made
    made.close()


def test_same_rows_do_not_differ_and_a_swap_shows_the_shadows(store: Store) -> None:
    readings = [reading(number) for number in range(20)]
    store.first.commit(*readings, to=20)
    shadow = store.begin()
    shadow.commit(*readings[:12], to=12)
    shadow.commit(*readings[12:], to=20)
    compared = compare(store.dsn, 2, "run")
    assert [(it.different, it.in_motion) for it in compared.found] == [(0, 0)] * 3
    assert [it.rows_equal for it in compared.found] == [20, 7, 4]
    before = store.rows("realtime")

    done = swap(store.dsn, 2, QUICK)

    assert done is not None
    assert (done.retired, done.dropped) == (1, None)
    assert store.statuses() == {1: "retired", 2: "current"}
    assert store.rows("realtime") == before == store.rows("realtime_retired")
    assert store.rows("realtime_shadow") == {}
    assert scalar(store.dsn, "SELECT DISTINCT generation FROM realtime.session_features") == 2
    with pytest.raises(SupersededError, match="generation 1 is retired"):
        store.first.commit(reading(20), to=21)
    shadow.commit(reading(20), to=21)
    assert scalar(store.dsn, "SELECT count(*) FROM serving.session_features") == 21, "views follow"
    assert scalar(store.dsn, "SELECT sum(readings_closed) FROM serving.user_features") == 21
    assert swap(store.dsn, 2, QUICK) is None, "a repeat changes nothing"


def test_differences_by_kind_and_column_without_personal_ids(store: Store) -> None:
    store.first.commit(*(reading(number) for number in range(10)), to=10)
    shadow = store.begin()
    shadow.commit(
        *(reading(number) for number in range(7)),
        reading(7, dwell_time_ms=2000, event_count=9),
        reading(8, country="JP"),
        reading(90, session_start_ms=START_MS, last_offset=9),
        to=10,
    )
    readings, users, episodes = compare(store.dsn, 2, "run").found
    kinds = (
        readings.rows_equal,
        readings.only_current,
        readings.only_candidate,
        readings.differing,
        readings.in_motion,
    )
    assert kinds == (7, 1, 1, 2, 0)
    assert readings.by_column == {"country": 1, "dwell_time_ms": 1, "event_count": 1}
    assert users.by_column.keys() == {
        "dwell_time_ms_sum",
        "last_read_at",
        "last_episode_id",
        "last_event_kafka_at",
    } | (
        users.by_column.keys()
        & {"readings_closed", "readings_completed", "completion_ppm_sum", "scroll_event_sum"}
    )
    assert users.different > 0 < episodes.different
    sample = next(it for it in readings.samples if "dwell_time_ms" in it["differing"])
    assert (sample["current"]["dwell_time_ms"], sample["candidate"]["dwell_time_ms"]) == (1000, 2000)
    for side in [
        it[side] for it in readings.samples + users.samples for side in ("current", "candidate") if it[side]
    ]:
        assert not PERSONAL & side.keys()
    stored = scalar(
        store.dsn, "SELECT samples FROM ops.roll_out_comparisons WHERE table_name = 'session_features'"
    )
    assert stored == readings.samples


def test_what_one_side_has_not_read_or_closed_yet_is_in_motion(store: Store) -> None:
    settled = [reading(number) for number in range(5)]
    store.first.commit(*settled, reading(5, **OPEN), reading(6, **OPEN), to=7)
    later = {"event_count": 4, "last_offset": 7, "ended_at_ms": START_MS + HOUR_MS}
    store.first.commit(reading(6, **OPEN, **later), to=8)
    shadow = store.begin()
    over = OPEN | {"status": "timed_out", "is_exit_tag": True}
    shadow.commit(*settled, reading(5, **over), reading(6, **OPEN), to=7)
    readings, users, episodes = compare(store.dsn, 2, "run").found
    assert (readings.rows_equal, readings.different, readings.in_motion) == (5, 0, 2)
    assert (users.different, users.in_motion) == (0, 2)
    assert (episodes.different, episodes.in_motion) == (0, 2)


def test_a_dropped_shadow_leaves_everything_as_it_was(store: Store) -> None:
    store.first.commit(*(reading(number) for number in range(5)), to=5)
    before = store.rows("realtime")
    shadow = store.begin(plan=Plan(rules=SessionRules(gap_ms=60_000)))
    shadow.commit(reading(1, dwell_time_ms=5), to=5)
    assert compare(store.dsn, 2, "run").different > 0
    generations.drop(store.dsn, 2)
    generations.drop(store.dsn, 2)
    assert store.statuses() == {1: "current", 2: "dropped"}
    assert store.rows("realtime") == before
    assert store.rows("realtime_shadow") == {}
    store.first.commit(reading(5), to=6)
    with pytest.raises(SupersededError, match="generation 2 is dropped"):
        shadow.commit(reading(9), to=9)
    assert store.begin("next").number == 3


def test_rolled_back_the_generation_before_goes_on_and_forward_again(store: Store) -> None:
    store.first.commit(*(reading(number) for number in range(5)), to=5)
    second = store.begin()
    second.commit(*(reading(number, dwell_time_ms=7) for number in range(5)), to=5)
    swap(store.dsn, 2, QUICK)
    second.commit(reading(5, dwell_time_ms=7), to=6)
    newer = store.rows("realtime")

    def checkpoint_is_gone(entry: Any) -> None:
        raise RollOutError(f"generation {entry.number} has no checkpoint")

    with pytest.raises(RollOutError, match="generation 1 has no checkpoint"):
        swap(store.dsn, 1, QUICK, check_retired=checkpoint_is_gone)
    assert store.statuses() == {1: "retired", 2: "current"}
    assert swap(store.dsn, 1, QUICK) is not None
    assert store.statuses() == {1: "current", 2: "retired"}
    assert store.rows("realtime_retired") == newer
    store.first.commit(reading(5), to=6)
    assert scalar(store.dsn, "SELECT array_agg(DISTINCT dwell_time_ms) FROM serving.session_features") == [
        1000
    ]
    with pytest.raises(SupersededError):
        second.commit(reading(6), to=7)

    assert swap(store.dsn, 2, QUICK) is not None
    assert store.rows("realtime") == newer
    third = store.begin("third")
    third.commit(reading(0), to=6)
    done = swap(store.dsn, third.number, QUICK)
    assert done is not None
    assert done.dropped == 1, "one way back is kept, not two"
    assert store.statuses() == {1: "dropped", 2: "retired", 3: "current"}
    with pytest.raises(RollOutError, match="generation 1 is dropped"):
        swap(store.dsn, 1, QUICK)


def test_a_shadow_that_is_behind_is_not_swapped_in_and_holds_nobody(store: Store) -> None:
    store.first.commit(reading(0), reading(1), to=2)
    store.begin().commit(reading(0), to=1)
    outcome: list[str] = []

    def swap_in() -> None:
        with pytest.raises(RollOutError, match="did not reach") as refused:
            swap(store.dsn, 2, Patience(level_s=3))
        outcome.append(str(refused.value))

    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    )
    swapping = _Failing(swap_in)
    _await(lambda: scalar(store.dsn, waiting, Dag.ROLL_OUT) == 1)
    store.first.commit(reading(2), to=3)
    assert swapping.is_alive(), "the current one committed meanwhile"
    swapping.join_or_raise()
    assert len(outcome) == 1
    assert store.statuses() == {1: "current", 2: "shadow"}


def test_the_current_one_is_held_until_the_shadow_is_level_and_then_told(store: Store) -> None:
    store.first.commit(reading(0), reading(1), to=2)
    shadow = store.begin()
    shadow.commit(reading(0), reading(1), to=2)
    outcome: list[BaseException | None] = []
    with psycopg.connect(store.dsn) as at_hand:  # a micro-batch of the current one, up to offset 3
        at_hand.execute("SELECT FROM ops.stream_generations WHERE generation = 1 FOR SHARE")
        swapping = _Failing(lambda: swap(store.dsn, 2, QUICK))
        _await(lambda: _waits_for_a_lock(store.dsn))
        at_hand.execute(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
            " dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
            """ VALUES (1, 1, '{"0": 2}', '{"0": 3}', 0, 1, 0, 0, 0, 0, 0)"""
        )
    store.first.batches, store.first.reached = 2, 3
    _await(lambda: _held(store.dsn))
    held = _Failing(lambda: outcome.append(_fault(store.first, reading(3))))
    shadow.commit(reading(2), to=3)
    swapping.join_or_raise()
    held.join_or_raise()
    assert store.statuses() == {1: "retired", 2: "current"}
    assert [type(it) for it in outcome] == [SupersededError]
    assert scalar(store.dsn, "SELECT count(*) FROM realtime.session_features") == 3


def test_where_the_topic_was_made_anew_the_shadow_is_level_at_its_end(store: Store) -> None:
    store.first.commit(reading(0), to=500)
    store.begin().commit(reading(0), to=1)
    with pytest.raises(RollOutError, match="did not reach"):
        swap(store.dsn, 2, Patience(level_s=0.2), ends={"0": 2})
    assert swap(store.dsn, 2, QUICK, ends={"0": 1}) is not None


def test_a_long_reader_is_not_cut_off_and_the_swap_follows(store: Store) -> None:
    store.first.commit(reading(0), to=1)
    store.begin().commit(reading(0, dwell_time_ms=5), to=1)
    with psycopg.connect(store.dsn) as reader:
        query = "SELECT dwell_time_ms FROM serving.session_features"
        assert reader.execute(query).fetchone() == (1000,)
        with pytest.raises(RollOutError, match="without a pause"):
            swap(store.dsn, 2, Patience(readers_s=0.5))
        assert reader.execute(query).fetchone() == (1000,)
        assert store.statuses() == {1: "current", 2: "shadow"}
        reader.commit()
        swap(store.dsn, 2, QUICK)
        assert reader.execute(query).fetchone() == (5,)


def test_no_reader_fails_or_sees_a_mixture_while_generations_change_places(store: Store) -> None:
    """Readers that never pause, of views and of the tables, prepared and not, in two orders: one generation a
    statement."""
    store.first.commit(*(reading(number) for number in range(50)), to=50)
    store.begin().commit(*(reading(number, dwell_time_ms=7) for number in range(50)), to=50)
    swap(store.dsn, 2, QUICK)
    queries = (
        "SELECT sum(realtime_avg_dwell_time_s * readings_closed) * 1000 / 50, 1 FROM serving.user_features",
        """SELECT sum(dwell_time_ms_sum) / 50, (SELECT avg(dwell_time_ms) FROM realtime.session_features)
        FROM realtime.user_features""",
        """SELECT avg(dwell_time_ms), (SELECT sum(realtime_avg_dwell_time_s * readings_closed) * 1000 / 50
        FROM serving.episode_features) FROM serving.session_features""",
    )
    seen: set[tuple[int, ...]] = set()
    stop = threading.Event()

    def read(query: str, prepare: bool) -> None:
        with psycopg.connect(store.dsn, autocommit=True) as connection:
            while not stop.is_set():
                row = connection.execute(query.encode(), prepare=prepare).fetchone()
                assert row is not None
                seen.add(tuple(round(value) for value in row))

    prepared = (True, False, True)
    readers = [_Failing(lambda it=it: read(*it)) for it in zip(queries, prepared, strict=True)]
    _await(lambda: {(7, 1), (7, 7)} <= seen)
    for number, after in ((1, {(1000, 1), (1000, 1000)}), (2, {(7, 1), (7, 7)})):
        seen.clear()
        swap(store.dsn, number, Patience(readers_s=60))
        _await(partial(after.issubset, seen))
    assert seen <= {(7, 1), (1000, 1), (7, 7), (1000, 1000)}
    stop.set()
    for thread in readers:
        thread.join_or_raise()


def test_rows_before_the_point_are_copied_and_the_sums_add_up(store: Store) -> None:
    """The new generation reads a while before the point, and writes nothing of it."""
    point_ms = START_MS + HOUR_MS
    old = [reading(number) for number in range(10)]
    new = [reading(number, session_start_ms=point_ms + number * 1000) for number in range(10, 20)]
    store.first.commit(*old, *new, to=20)
    shadow = store.begin(plan=Plan(publish_from_ms=point_ms))
    assert len(store.rows("realtime_shadow")["session_features"]) == 10
    half_read = reading(9, dwell_time_ms=1, session_start_ms=START_MS + 9500)
    shadow.commit(half_read, to=12)
    shadow.commit(*new, to=20, deletes=(half_read.key,))
    assert compare(store.dsn, 2, "run").different == 0
    assert store.rows("realtime_shadow") == store.rows("realtime")
    swap(store.dsn, 2, QUICK)
    shadow.commit(reading(20, session_start_ms=point_ms + HOUR_MS), to=21)
    assert scalar(store.dsn, "SELECT count(*) FROM realtime.session_features") == 21
    in_cut = "SELECT count(*) FROM realtime.session_features WHERE is_final AND generation = 2 AND ledger_position <= %s"
    assert scalar(store.dsn, in_cut, scalar(store.dsn, "SELECT max(position) FROM ops.stream_batches")) == 21
    landed = scalar(store.dsn, "SELECT sum(landing_rows) FROM ops.stream_batches WHERE generation = 2")
    assert landed == 11, "what was copied is landed by the generation that it is of"


def test_readings_before_the_point_that_changed_since_stop_the_swap(store: Store) -> None:
    store.first.commit(reading(0), reading(1, **OPEN), to=2)
    shadow = store.begin(plan=Plan(publish_from_ms=START_MS + HOUR_MS))
    store.first.commit(reading(1, event_count=4), to=3)
    shadow.commit(to=3)
    swap(store.dsn, 2, QUICK)  # it was open, and copied as it was
    assert scalar(store.dsn, "SELECT count(*) FROM realtime.session_features") == 2
    swap(store.dsn, 1, QUICK)
    third = store.begin("third", plan=Plan(publish_from_ms=START_MS + HOUR_MS))
    store.first.commit(reading(3), to=4)
    third.commit(to=4)
    with pytest.raises(RollOutError, match="1 readings of sessions that began before"):
        swap(store.dsn, 3, QUICK)


def test_one_shadow_at_a_time_and_a_repeat_finds_its_own(store: Store) -> None:
    assert store.begin("run").number == store.begin("run").number == 2
    with pytest.raises(RollOutError, match="generation 2 is a shadow already, of run run"):
        store.begin("another")


def test_a_migration_in_between_stops_the_swap(store: Store) -> None:
    store.first.commit(reading(0), to=1)
    store.begin().commit(reading(0), to=1)
    with psycopg.connect(store.dsn) as connection:
        connection.execute("ALTER TABLE realtime.user_features ADD COLUMN mood text")
        connection.execute("CREATE INDEX user_features_mood ON realtime.user_features (mood)")
    with pytest.raises(tables.TablesError, match=r"column user_features\.mood.*index of user_features"):
        swap(store.dsn, 2, QUICK)
    assert store.statuses() == {1: "current", 2: "shadow"}


def test_privileges_options_triggers_and_views_come_along(store: Store, admin_dsn: str) -> None:
    with psycopg.connect(store.dsn) as connection:
        connection.execute(
            "CREATE FUNCTION ops.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        connection.execute(
            "CREATE TRIGGER told AFTER INSERT ON realtime.user_features EXECUTE FUNCTION ops.nothing()"
        )
        connection.execute("GRANT SELECT ON realtime.user_features TO PUBLIC")
        connection.execute(
            "CREATE VIEW public.readers WITH (security_barrier = true) AS SELECT user_id FROM realtime.user_features"
        )
        connection.execute("CREATE VIEW public.known AS SELECT count(*) AS readers FROM public.readers")
        connection.execute("GRANT SELECT ON public.readers TO PUBLIC")
    store.first.commit(reading(0), to=1)
    shadow = store.begin()
    shadow.commit(reading(0), to=1)
    swap(store.dsn, 2, QUICK)
    shadow.commit(reading(1), to=2)
    assert scalar(store.dsn, "SELECT readers FROM public.known") == 2
    kept = scalar(
        store.dsn,
        "SELECT reloptions::text || has_table_privilege('public', oid, 'SELECT')::text FROM pg_class"
        " WHERE oid = 'public.readers'::regclass",
    )
    assert kept == "{security_barrier=true}true"
    with psycopg.connect(store.dsn) as connection:
        tables.check_alike(connection, "realtime", "realtime_retired")
        assert any("trigger user_features.told" in line for line in tables.structure(connection, "realtime"))


def test_what_cannot_follow_stops_the_swap(store: Store) -> None:
    store.first.commit(reading(0), to=1)
    store.begin().commit(reading(0), to=1)
    with psycopg.connect(store.dsn) as connection:
        connection.execute(
            "CREATE MATERIALIZED VIEW public.frozen AS SELECT user_id FROM realtime.user_features"
        )
    with pytest.raises(tables.TablesError, match="frozen hangs on tables of realtime"):
        swap(store.dsn, 2, QUICK)


def test_settings_are_fixed_in_a_generation(store: Store) -> None:
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        same = current_or_first(connection, Path("x"), {"0": 0}, {"gap_ms": 1_800_000})
        assert same.plan == Plan()
        message = r"another gap_ms \(gap_ms=1800000\).*stream__roll_out"
        with pytest.raises(GenerationError, match=message):
            current_or_first(connection, Path("x"), {"0": 0}, {"gap_ms": 60_000, "lateness_ms": 120_000})
        plan = Plan().with_settings({"gap_ms": 60_000, "state_partitions": 3})
        store.begin(plan=plan)
        found = numbered(connection, 2, Path("x"), {"0": 0, "1": 0}, {})
        assert (found.plan, found.status, found.start_offsets) == (plan, "shadow", {"0": 0, "1": 0})
        with pytest.raises(SupersededError, match="generation 1 is current"):
            numbered(connection, 1, Path("x"), {"0": 0}, {})
        with pytest.raises(GenerationError, match="there is no generation 9"):
            numbered(connection, 9, Path("x"), {"0": 0}, {})


def _fault(lineage: Lineage, *readings: Reading) -> BaseException | None:
    try:
        lineage.commit(*readings, to=lineage.reached + 1)
    except SupersededError as error:
        return error
    return None


def _waits_for_a_lock(dsn: str) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stream__roll_out' AND wait_event_type = 'Lock'"
    return bool(scalar(dsn, f"{waiting} AND datname = current_database()"))


def _held(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT FROM ops.stream_generations WHERE status = 'current' FOR SHARE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return True
    return False


def _await(condition: Any, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class _Failing(threading.Thread):
    """A thread whose failure is the test's."""

    def __init__(self, work: Any) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  raised again where it is joined
            self.error = error

    def join_or_raise(self) -> None:
        self.join(20)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
