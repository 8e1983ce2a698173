"""`realtime` keeps what changed lately: ops__maintain asks, the stream removes, the marts are computed from what stays."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.common.names import Pg
from include.orchestration.prune_realtime import ask_to_prune_in, is_pruned_in
from include.spark_jobs.stream_sessionize.generations import Generation, Plan
from include.spark_jobs.stream_sessionize.pruning import Pruning
from tests.integration.model_store import AS_OF, Store
from tests.integration.stream_support import (
    BASE_MS,
    MINUTE_MS,
    StreamJob,
    first_bucket_session,
    produce,
    scalar,
)
from tests.vectors import VectorRecord

GENERATION = Generation(1, Path("c"), {}, Plan())
COUNTS = "readings, readers, episodes, progress_rows"
SUMS = {
    "user_features": (
        "user_id",
        (
            "readings_active, readings_closed, readings_completed, readings_exited, completion_ppm_sum, scroll_event_sum,"
            " dwell_time_ms_sum, last_read_at, last_episode_id, last_event_kafka_at, generation, batch_id"
        ),
        "0, 1, 1, 0, 1000000, 1, 1000, now(), 'e', now(), 1, 0",
    ),
    "episode_features": (
        "episode_id",
        (
            "readings_active, readings_closed, readings_completed, readings_exited, readings_with_scroll,"
            " completion_ppm_sum, scroll_ppm_sum, scroll_event_sum, dwell_time_ms_sum, last_read_at, last_event_kafka_at,"
            " generation, batch_id"
        ),
        "0, 1, 1, 0, 0, 1000000, 0, 1, 1000, now(), now(), 1, 0",
    ),
}


class Realtime:
    """Rows that changed so many days ago."""

    def __init__(self, dsn: str) -> None:
        self.store = Store(dsn)
        self.dsn = dsn

    def reading(self, position: int, user: str, episode: str, days: float, **other: object) -> None:
        """A reading of a session of its own, and the sums that it counts in."""
        session = f"{user}-{episode}"
        self.store.reading(position, session, episode, user, AS_OF, **other)
        self.aged("session_features", "session_id", session, days)
        for table, name in (("user_features", user), ("episode_features", episode)):
            key, columns, values = SUMS[table]
            self.store.execute(
                f"INSERT INTO realtime.{table} ({key}, {columns}) VALUES (%s, {values}) ON CONFLICT DO NOTHING",
                (name,),
            )

    def aged(self, table: str, key: str, name: str, days: float) -> None:
        self.store.execute(
            f"UPDATE realtime.{table} SET committed_at = now() - %s * interval '1 day' WHERE {key} = %s",
            (days, name),
        )

    def published(self, position: int, behind_days: float = 0) -> None:
        """A cut that features__model has published."""
        self.store.execute(
            "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, fixed_at, published_at)"
            " VALUES (%s, 1, %s, now() - %s * interval '1 day', 'published', now(), now())",
            (uuid.uuid4().hex, position, behind_days),
        )

    def left(self) -> dict[str, set[str]]:
        return {
            table: {row[0] for row in self.store.execute(f"SELECT {key} FROM realtime.{table}")}
            for table, key in (
                ("session_features", "session_id"), ("user_features", "user_id"), ("episode_features", "episode_id"),
            )
        }  # fmt: skip


@pytest.fixture
def realtime(feature_db: str) -> Realtime:
    """Old and new readings; old ones that must stay: not final, in no published mart. One that is not final and a copy of a
    generation before is never written again."""
    rows = Realtime(feature_db)
    first, second = rows.store.batch(), rows.store.batch()
    rows.reading(first, "gone", "e-old", 20)
    rows.reading(first, "comes-back", "e-old", 20)
    rows.reading(first, "comes-back", "e-new", 2)
    rows.reading(first, "reads", "e-old", 20, is_final=False, status="active")
    rows.reading(second, "unpublished", "e-late", 20)
    rows.reading(first, "lately", "e-new", 13)
    rows.reading(first, "old", "e-oldest", 20)
    rows.reading(first, "copied", "e-oldest", 20, is_final=False, status="active")
    rows.store.execute("UPDATE realtime.session_features SET batch_id = -1 WHERE user_id = 'copied'")
    for user in ("gone", "reads", "unpublished", "old", "copied"):
        rows.aged("user_features", "user_id", user, 20)
    for episode in ("e-late", "e-oldest"):
        rows.aged("episode_features", "episode_id", episode, 20)
    rows.published(first)
    rows.store.execute(
        "INSERT INTO ops.stream_progress SELECT 1, n, now() - n * interval '10 days', 0, '{}', '{}', '{}'"
        " FROM generate_series(0, 3) AS n"
    )
    return rows


STAYS = {
    "session_features": {"comes-back-e-new", "reads-e-old", "unpublished-e-late", "lately-e-new"},
    "user_features": {"comes-back", "reads", "unpublished", "lately"},
    "episode_features": {"e-old", "e-new", "e-late"},
}


def ask(dsn: str, **options: bool) -> int | None:
    with psycopg.connect(dsn) as connection:
        return ask_to_prune_in(connection, **options)


def is_done(dsn: str, request_id: int | None) -> bool:
    assert request_id is not None
    with psycopg.connect(dsn) as connection:
        return is_pruned_in(connection, request_id)


def test_what_has_not_changed_for_long_goes_and_nothing_else(realtime: Realtime) -> None:
    everything = realtime.left()
    assert ask(realtime.dsn, dry_run=True) is None
    request = ask(realtime.dsn)
    assert ask(realtime.dsn) == request, "asked for before, and not done"
    assert not is_done(realtime.dsn, request)
    with psycopg.connect(realtime.dsn, autocommit=True) as connection:
        assert realtime.left() == everything
        Pruning(connection, GENERATION).advance()
    assert is_done(realtime.dsn, request)
    assert realtime.left() == STAYS
    assert realtime.store.execute(f"SELECT {COUNTS} FROM {Pg.PRUNINGS}") == [(4, 3, 1, 2)]
    assert ask(realtime.dsn) is None, "nothing is left to do"


def test_a_driver_killed_in_the_middle_leaves_the_rest_to_the_next(realtime: Realtime) -> None:
    request = ask(realtime.dsn)
    for _ in range(3):  # a page each time: one after the readings', one after the readers'
        with psycopg.connect(realtime.dsn, autocommit=True) as connection:
            pruning = Pruning(connection, GENERATION, pages=1, slice_s=0)
            pruning.advance()
            assert not is_done(realtime.dsn, request)
    assert realtime.left()["session_features"] == STAYS["session_features"]
    with psycopg.connect(realtime.dsn, autocommit=True) as connection:
        Pruning(connection, GENERATION).advance()
    assert is_done(realtime.dsn, request)
    assert realtime.left() == STAYS
    assert realtime.store.execute(f"SELECT {COUNTS} FROM {Pg.PRUNINGS}") == [(4, 3, 1, 2)]


def test_many_pages_are_walked_in_ranges(realtime: Realtime) -> None:
    realtime.store.execute(
        "INSERT INTO realtime.session_features SELECT copy.* FROM realtime.session_features AS old,"
        " generate_series(1, 4000) AS n, jsonb_populate_record(NULL::realtime.session_features,"
        " to_jsonb(old) || jsonb_build_object('session_id', n::text)) AS copy WHERE old.session_id = 'gone-e-old'"
    )
    [(pages,)] = realtime.store.execute("SELECT pg_relation_size('realtime.session_features') / 8192")
    assert pages > 60
    request = ask(realtime.dsn)
    with psycopg.connect(realtime.dsn, autocommit=True) as connection:
        pruning = Pruning(connection, GENERATION, pages=10, slice_s=0)
        slices = 0
        while not is_done(realtime.dsn, request):
            pruning.advance()
            slices += 1
    assert slices > 6
    assert realtime.left() == STAYS


def test_rows_stay_as_long_as_popularity_looks_back(realtime: Realtime) -> None:
    realtime.store.execute(
        "INSERT INTO reference.thresholds VALUES ('popularity_window_days', 30, 'days', 'x', '-infinity', 'infinity')"
    )
    assert ask(realtime.dsn) is None


def test_rows_stay_as_long_as_popularity_looks_back_from_an_old_cut(realtime: Realtime) -> None:
    """The topic was idle: the newest event of the cut is weeks old, and the week before it counts."""
    realtime.published(1, behind_days=24)
    assert ask(realtime.dsn) is None
    realtime.published(1, behind_days=12)
    assert ask(realtime.dsn) is not None


def test_nothing_goes_before_a_cut_is_published(realtime: Realtime) -> None:
    realtime.store.execute("UPDATE ops.model_cuts SET published_at = NULL, status = 'rejected'")
    assert ask(realtime.dsn) is None


def test_only_the_current_generation_prunes(realtime: Realtime) -> None:
    request = ask(realtime.dsn)
    everything = realtime.left()
    with psycopg.connect(realtime.dsn, autocommit=True) as connection:
        Pruning(connection, Generation(1, Path("c"), {}, Plan(), status="shadow")).advance()
        assert realtime.left() == everything
        pruning = Pruning(connection, GENERATION, pages=1, slice_s=0)
        pruning.advance()
        realtime.store.execute("UPDATE ops.stream_generations SET status = 'retired'")
        seen = realtime.left()
        for _ in range(5):
            pruning.advance()
    assert realtime.left() == seen
    assert is_done(realtime.dsn, request), "nobody will do it any more"


def test_the_running_stream_prunes_and_counts_on(
    kafka: str, topic_factory: Callable[..., str], stream_job: Callable[[str], StreamJob]
) -> None:
    topic = topic_factory(partitions=1)
    job = stream_job(topic)
    feature_db = job.dsn

    def read(offset: int, user: str, minute: int) -> None:
        session = first_bucket_session(f"{user}-{minute}")
        event = {
            "event_id": f"{user}-{offset}", "user_id": user, "session_id": session, "episode_id": "e",
            "event_type": "complete", "country": "KR", "device": "phone", "platform": "ios",
            "timestamp": BASE_MS + minute * MINUTE_MS,
        }  # fmt: skip
        at_ms = BASE_MS + minute * MINUTE_MS
        produce(kafka, topic, [VectorRecord(0, offset, at_ms, session.encode(), json.dumps(event).encode())])

    def sums() -> list[tuple[object, ...]]:
        with psycopg.connect(feature_db) as connection:
            return connection.execute(
                "SELECT user_id, readings_closed FROM realtime.user_features ORDER BY user_id"
            ).fetchall()

    with job.running() as process:
        read(0, "u1", 0)
        read(1, "u2", 0)
        read(2, "u3", 60)  # what came before is final
        final = "SELECT count(*) FROM realtime.session_features WHERE is_final"
        job.await_that("final readings", lambda: bool(scalar(feature_db, final) == 2), process, 120)
        for table in ("session_features", "user_features"):
            Realtime(feature_db).aged(table, "user_id", "u1", 15)
        Realtime(feature_db).published(
            int(scalar(feature_db, "SELECT max(position) FROM ops.stream_batches"))
        )
        request = ask(feature_db)
        job.await_that("pruning", lambda: is_done(feature_db, request), process)
        assert sums() == [("u2", 1), ("u3", 1)]
        read(3, "u1", 100)
        read(4, "u2", 100)
        job.await_that("further readings", lambda: sums() == [("u1", 1), ("u2", 2), ("u3", 1)], process)
        process.terminate()
        assert process.wait(60) == 0, job.log.read_text()[-3000:]
    assert scalar(feature_db, "SELECT readings_closed FROM realtime.episode_features") == 5, (
        "it was read all the time"
    )
