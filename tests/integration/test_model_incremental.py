"""A cut is computed from the published one by what changed: the same rows as a whole rebuild, at the change's cost."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import model_history
from include.common.names import MARTS, Pg
from include.common.postgres import create_database, drop_database, with_database
from include.orchestration import model
from tests.integration.model_store import AS_OF, HOUR, Store

DAY = 24 * HOUR
RUN = ("run",)


@pytest.fixture(scope="module")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target folder of this module's own."""
    return tmp_path_factory.mktemp("dbt")


class Reader:
    """Readings at random, from one seed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.random = random.Random(5)
        self.sessions = 0

    def read(self, count: int, first: Any, last: Any) -> None:
        """One micro-batch with `count` sessions that end between `first` and `last`."""
        position = self.store.batch()
        for _ in range(count):
            self.sessions += 1
            user = f"u{self.random.randrange(12)}"
            ended = first + (last - first) * self.random.random()
            country, device = self.random.choice(["KR", "US"]), self.random.choice(["phone", "tablet"])
            for episode in self.random.sample(range(8), self.random.randint(1, 3)):
                status = self.random.choice(["completed", "exited", "timed_out"])
                self.store.reading(
                    position, f"s{self.sessions}", f"e{episode}", user, ended, status=status, country=country,
                    device=device, dwell_ms=self.random.randrange(90_000),
                    completion=1.0 if status == "completed" else self.random.random(),
                    scroll=self.random.choice([None, self.random.random()]),
                )  # fmt: skip


def candidate(store: Store) -> dict[str, list[Any]]:
    """All candidate rows."""
    return {mart: store.table(f"{Pg.MARTS_CANDIDATE_SCHEMA}.{mart}", "1") for mart in MARTS}


def published(store: Store) -> dict[str, list[Any]]:
    """All published rows."""
    return {mart: store.table(f"{Pg.MARTS_SCHEMA}.{mart}", "1") for mart in MARTS}


def mart_rows(store: Store) -> Any:
    """What the newest cut says of each mart's rows."""
    return store.execute("SELECT mart_rows FROM ops.model_cuts ORDER BY cut_id DESC LIMIT 1")[0][0]


@pytest.fixture
def rebuilt(
    feature_db: str, admin_dsn: str, dbt_target: Path
) -> Iterator[Callable[[], dict[str, list[Any]]]]:
    """What dbt's --full-refresh gives for the open cut, in a copy of the database: the candidate itself stays."""
    name = feature_db.rsplit("/", 1)[1]
    copies = []

    def rebuild() -> dict[str, list[Any]]:
        copies.append(f"{name}_{len(copies)}")
        create_database(admin_dsn, copies[-1], owner="webtoon", template=name)
        copy = Store.__new__(Store)
        copy.dsn = with_database(feature_db, copies[-1])
        copy.dbt([*RUN, "--full-refresh"], dbt_target)
        return candidate(copy)

    yield rebuild
    for copy in copies:
        drop_database(admin_dsn, copy)


@pytest.fixture
def store(feature_db: str) -> Store:
    """Eight episodes, three of them with another genre from some time on; no readings yet."""
    store = Store(feature_db)
    store.thresholds()
    for number in range(7):
        genre = ["drama", "action", "comedy"][number % 3]
        store.episode(f"e{number}", 5 + number / 4, genre, [genre, "school"], "-infinity", "infinity")
    return store


def test_cuts_from_a_base_equal_a_rebuild_row_by_row(
    store: Store, dbt_target: Path, rebuilt: Callable[[], dict[str, list[Any]]]
) -> None:
    """Several cuts, one of them rejected after dbt, a reference change, an empty one, another generation."""
    reader = Reader(store)

    def build(run_id: str) -> model.Cut:
        cut = model.fix_cut(store.dsn, run_id)
        store.dbt(RUN, dbt_target)
        return cut

    reader.read(60, AS_OF - 9 * DAY, AS_OF - 12 * HOUR)
    first = build("run1")
    assert first.rebuild_reason == "no cut is published yet"
    model.publish(store.dsn, first.cut_id)

    # few readings; those that ended in the first half day of the window leave it
    reader.read(4, AS_OF - 2 * HOUR, AS_OF)
    second = build("run2")
    assert (second.rebuild_reason, second.base_position) == (None, first.ledger_position)
    assert candidate(store) == rebuilt()
    changed = model.publish(store.dsn, second.cut_id)
    assert 0 < changed["user_features"] <= 4
    counted = mart_rows(store)
    assert set(model.publish(store.dsn, second.cut_id).values()) == {0}, "a task that is repeated"
    assert mart_rows(store) == counted == {mart: len(rows) for mart, rows in published(store).items()}
    assert published(store) == candidate(store)

    # a version of e1 that begins within the published cut: what was published is no longer right
    store.execute(
        "UPDATE reference.episode_metadata SET valid_to = %s WHERE episode_id = 'e1'", (AS_OF - 3 * HOUR,)
    )
    store.episode("e1", 9, "horror", ["dark"], (AS_OF - 3 * HOUR).isoformat(), "infinity")
    reader.read(5, AS_OF + HOUR, AS_OF + 6 * HOUR)
    third = build("run3")
    assert third.rebuild_reason == "reference has changed for readings that were published"
    model.publish(store.dsn, third.cut_id)

    # a rejected cut, whose readings count in the next one; e2 has another genre and rating from now on, e9 is new
    store.execute(
        "UPDATE reference.episode_metadata SET valid_to = %s WHERE episode_id = 'e2'", (AS_OF + 8 * HOUR,)
    )
    store.episode("e2", 8, "horror", ["dark"], (AS_OF + 8 * HOUR).isoformat(), "infinity")
    store.episode("e9", 8, "horror", ["dark"], "-infinity", "infinity")
    reader.read(5, AS_OF + 7 * HOUR, AS_OF + 9 * HOUR)
    rejected = build("run4")
    assert rejected.rebuild_reason is None
    assert candidate(store) == rebuilt()
    before = published(store)
    model.reject_cut(store.dsn, rejected.cut_id)

    reader.read(5, AS_OF + 9 * HOUR, AS_OF + 20 * HOUR)
    fifth = build("run5")
    assert (fifth.rebuild_reason, fifth.base_position) == (None, third.ledger_position)
    assert candidate(store) == rebuilt()
    model.publish(store.dsn, fifth.cut_id)
    assert published(store) == candidate(store) != before

    # nothing became final since: nothing changes
    store.batch()
    empty = build("run6")
    assert empty.rebuild_reason is None
    assert candidate(store) == rebuilt()
    assert set(model.publish(store.dsn, empty.cut_id).values()) == {0}

    # the published rows of readers whom the new generation does not know go
    store.execute("UPDATE ops.stream_generations SET status = 'retired'")
    store.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (2, 'current', 'd', '{}')"
    )
    position = store.batch(generation=2)
    store.reading(position, "s1000", "e1", "u3", AS_OF + 21 * HOUR, generation=2)
    swapped = build("run7")
    assert swapped.rebuild_reason == "the published marts are of generation 1, the stream's current one is 2"
    model.publish(store.dsn, swapped.cut_id)
    assert [row["user_id"] for row in published(store)["user_features"]] == ["u3"]
    assert published(store) == candidate(store)
    assert mart_rows(store) == {mart: len(found) for mart, found in published(store).items()}


def test_pruned_readings_leave_the_marts(store: Store, dbt_target: Path) -> None:
    """What the stream has pruned is in no total any more, and readers of whom nothing is left have no row."""
    reader = Reader(store)
    reader.read(30, AS_OF - 9 * DAY, AS_OF)
    for run_id in ("run1", "run2"):
        cut = model.fix_cut(store.dsn, run_id)
        store.dbt(RUN, dbt_target)
        model.publish(store.dsn, cut.cut_id)
        if run_id == "run1":
            store.execute(
                "DELETE FROM realtime.session_features WHERE user_id IN ('u1', 'u2') OR episode_id = 'e3'"
            )
            prune(store)
            reader.read(3, AS_OF, AS_OF + HOUR)
    assert cut.rebuild_reason == "readings that were published have been pruned"
    assert published(store) == candidate(store)
    counted = {row["user_id"]: row["final_reading_count"] for row in published(store)["user_features"]}
    assert counted == dict(
        store.execute("SELECT user_id, count(*) FROM realtime.session_features GROUP BY 1")
    )
    assert model.fix_cut(store.dsn, "run3").rebuild_reason is None, "once"


def prune(store: Store) -> None:
    """What the stream notes when it has removed readings."""
    [(request,)] = store.execute(
        "INSERT INTO ops.prune_requests (generation, changed_before, up_to_position) VALUES (1, now(), 1) RETURNING request_id"
    )
    store.execute(
        "INSERT INTO ops.prunings (request_id, readings, readings_pruned_at) VALUES (%s, 1, clock_timestamp())",
        (request,),
    )


@pytest.mark.long
def test_dbt_reads_rows_of_the_change_not_of_the_table(
    feature_db_factory: Callable[[], str], dbt_target: Path
) -> None:
    """The same 50 readings on 60,000 and on 240,000: rows read of realtime are nearly the same."""
    found = {}
    for readings in (60_000, 240_000):
        dsn = feature_db_factory()
        model_history.fill_history(dsn, readings)
        store = Store.__new__(Store)
        store.dsn = dsn
        first = model.fix_cut(dsn, "run1")
        store.dbt(RUN, dbt_target)
        model.publish(dsn, first.cut_id)
        model_history.add_change(dsn, readings, 50)
        before = model_history.rows_read(dsn)
        second = model.fix_cut(dsn, "run2")
        assert second.rebuild_reason is None
        store.dbt(RUN, dbt_target)
        changed = model.publish(dsn, second.cut_id)
        found[readings] = model_history.rows_read(dsn) - before
        assert 0 < changed["user_features"] <= 50
    # 50 new ones, some 500 of their readers, 50 that left the window; ranges of pages are read whole
    assert found[240_000] < 1.3 * found[60_000], found
    assert found[60_000] < 60_000 / 5, found


def candidate_of(store: Store, cut: model.Cut, *, full: bool) -> None:
    """What dbt leaves of itself, without dbt."""
    store.execute("DROP TABLE IF EXISTS marts_candidate.int_model_cut")
    store.execute(
        f"CREATE TABLE marts_candidate.int_model_cut AS SELECT {cut.cut_id}::bigint AS cut_id, {full} AS is_full_refresh"
    )


@pytest.fixture
def based(store: Store) -> Store:
    """One published cut, two readings since."""
    store.reading(store.batch(), "s1", "e1", "u1", AS_OF)
    first = model.fix_cut(store.dsn, "run1")
    candidate_of(store, first, full=True)
    store.execute(
        "INSERT INTO marts.episode_features (episode_id, tags, final_reading_count, final_reader_count, popularity_score)"
        " VALUES ('e1', '{}', 1, 1, 1)"
    )
    store.execute("UPDATE ops.model_cuts SET status = 'published', published_at = clock_timestamp()")
    store.reading(store.batch(), "s2", "e2", "u2", AS_OF + HOUR)
    return store


def reload_e1(store: Store) -> None:
    """e1 gets a version that is valid from before its reading."""
    store.execute("UPDATE reference.episode_metadata SET valid_to = '2026-03-01' WHERE episode_id = 'e1'")


def new_settings(store: Store) -> None:
    """The half-life is another from now on."""
    store.execute(
        "UPDATE reference.thresholds SET valid_to = now() WHERE name = 'popularity_half_life_hours'"
    )
    store.execute(
        "INSERT INTO reference.thresholds VALUES ('popularity_half_life_hours', 12, 'x', 'x', now(), 'infinity')"
    )


def opened_again(store: Store) -> None:
    """The published run is cleared after a deployment, and comes to nothing."""
    model.reject_cut(store.dsn, model.fix_cut(store.dsn, "run1").cut_id)


def a_lost_rebuild(store: Store) -> None:
    """A run that rebuilt all, and was not published."""
    candidate_of(store, model.fix_cut(store.dsn, "run2", rebuild=True), full=True)


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (lambda store: None, None),
        (lambda store: store.episode("e8", 5, "x", [], "-infinity", "infinity"), None),  # nobody has read it
        (lambda store: model.fix_cut(store.dsn, "run2"), None),  # a run that came to nothing
        (reload_e1, "reference has changed for readings that were published"),
        (new_settings, "settings of popularity have changed"),
        (prune, "readings that were published have been pruned"),
        (opened_again, "the published cut was opened again and not published since"),
        (a_lost_rebuild, "a rebuild before was not published"),
        (lambda store: store.execute("UPDATE ops.model_cuts SET model_version = 'x'"), "the dbt project is another"),
        (lambda store: store.execute("DROP TABLE marts_candidate.int_model_cut"), "there is no candidate"),
        (
            lambda store: store.reading(store.batch(), "s3", "e2", "u2", AS_OF + 7 * DAY),
            "a new period of popularity began at 2026-03-12 00:00 UTC",
        ),
    ],
)  # fmt: skip
def test_why_the_marts_are_rebuilt(based: Store, happen: Callable[[Store], Any], reason: str | None) -> None:
    happen(based)
    cut = model.fix_cut(based.dsn, "later")
    assert (cut.rebuild_reason or "")[: len(reason or "")] == (reason or "")
    assert cut.is_rebuild == (reason is not None)
    assert cut.base_position == (-1 if reason else 1)
    stored = based.execute("SELECT base_cut_id, rebuild_reason FROM ops.model_cuts WHERE status = 'open'")
    assert stored == [(None if reason else 1, cut.rebuild_reason)]


def test_a_cleared_run_goes_on_from_the_base_unless_others_came_after(based: Store) -> None:
    second = model.fix_cut(based.dsn, "run2")
    model.reject_cut(based.dsn, second.cut_id)
    assert model.fix_cut(based.dsn, "run2") == second
    model.fix_cut(based.dsn, "run3")
    again = model.fix_cut(based.dsn, "run2")
    assert again.rebuild_reason == "the run was cleared after its cut was published, or another one was fixed"
    assert (again.as_of, again.base_position) == (second.as_of, -1)


def test_a_rebuild_that_dbt_did_as_an_increment_is_not_published(based: Store) -> None:
    cut = model.fix_cut(based.dsn, "run2", rebuild=True)
    assert cut.rebuild_reason == "the form asked for it"
    candidate_of(based, cut, full=False)
    with pytest.raises(model.CandidateMismatchError, match="run it with --full-refresh"):
        model.publish(based.dsn, cut.cut_id)


def test_an_unordered_stream_of_updates_stays_in_place(based: Store) -> None:
    """The index of ledger positions is a summarizing one: updates of what it holds write to no index (HOT)."""
    with_index = based.execute(
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'session_features_position_ended'"
    )
    assert "USING brin (ledger_position, ended_at)" in with_index[0][0]
    for _ in range(3):
        based.execute(
            "UPDATE realtime.session_features SET ledger_position = ledger_position + 1, ended_at = ended_at + %s",
            (timedelta(seconds=1),),
        )
    model_history.rows_read(based.dsn)  # waits until the sessions' counts are in
    counts = based.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE schemaname = 'realtime' AND relname = 'session_features'"
    )
    assert counts == [(6, 6)]
