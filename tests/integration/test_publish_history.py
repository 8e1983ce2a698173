"""Histories of the marts in Hive: every change once, whatever dies in between; what was known before a moment."""

import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.common.hive.files import data_files
from include.common.hive.mart_changes import remove_from_outbox
from include.common.hive.tables import EPISODE_FEATURE_HISTORY, USER_FEATURE_HISTORY
from include.common.migrate import MIGRATIONS_DIR, migrate
from include.common.names import Conn
from include.common.postgres import connect, create_database, drop_database, with_database
from include.orchestration import publish_batch
from tests.integration.publish_killed import MOMENTS
from tests.integration.publish_support import Store


@pytest.fixture(scope="module")
def store(publish_store: Store) -> Store:
    publish_store.land()  # a micro-batch without a reading: no Spark is started
    return publish_store


def publish_marts(store: Store, **exit_rates: float | None) -> datetime:
    """A cut that sets readers' exit rates (None: the reader is gone), and an episode's to the sum; when it was known."""
    with store.connection.transaction():
        for user_id, rate in exit_rates.items():
            if rate is None:
                store.connection.execute("DELETE FROM marts.user_features WHERE user_id = %s", (user_id,))
                continue
            store.connection.execute(
                "INSERT INTO marts.user_features (user_id, final_reading_count, final_session_count,"
                " user_avg_completion_rate, user_exit_rate, user_avg_dwell_time_s, user_readings_per_session,"
                " favourite_tags, usual_device, usual_country)"
                " VALUES (%s, 3, 1, 1.0 / 3, %s, 3, 3, '{\"a, b\",war}', 'phone', 'KR')"
                " ON CONFLICT (user_id) DO UPDATE SET user_exit_rate = excluded.user_exit_rate",
                (user_id, rate),
            )
        total = sum(rate or 0 for rate in exit_rates.values())
        store.connection.execute(
            "INSERT INTO marts.episode_features (episode_id, launch_date, tags, final_reading_count,"
            " final_reader_count, popularity_score) VALUES ('ep1', '2026-11-01', '{}', 3, 2, %s)"
            " ON CONFLICT (episode_id) DO UPDATE SET popularity_score = excluded.popularity_score",
            (total,),
        )
        store.cut()
    row = store.connection.execute("SELECT max(published_at) FROM ops.model_cuts").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def bring(store: Store, run_id: str) -> None:
    """The publisher's job, by Python alone."""
    done = store.submit.plain("publish_features", "--run-id", run_id, "--database", store.metastore.database)
    assert done.returncode == 0, done.stderr[-3000:]


def history(store: Store, table: Any = USER_FEATURE_HISTORY) -> list[dict[str, Any]]:
    """All rows, by publication and key."""
    days = [dt for (dt,) in store.metastore.all_locations(table)]
    rows = [row for dt in days for row in store.rows(dt, table)]
    return sorted(rows, key=lambda row: (row["publication_id"], row[table.key[0]]))


def values(store: Store) -> list[tuple[Any, ...]]:
    return [(row["user_id"], row["user_exit_rate"], row["known_at"]) for row in history(store)]


def waiting(store: Store) -> int:
    [(count,)] = store.connection.execute("SELECT count(*) FROM ops.mart_changes").fetchall()
    return int(count)


def test_each_change_is_added_once_also_of_a_cut_that_the_publisher_never_saw(store: Store) -> None:
    first = publish_marts(store, u1=0.1, u2=0.5)
    second = publish_marts(store, u1=0.3, u2=0.5)  # u2 stays as it was
    assert waiting(store) == 5
    bring(store, "run-1")
    known = [("u1", 0.1, first), ("u2", 0.5, first), ("u1", 0.3, second)]
    assert values(store) == known
    row = history(store)[2]
    [cut] = store.connection.execute(
        "SELECT publication_id, cut_id, generation, as_of FROM ops.mart_publications ORDER BY known_at DESC LIMIT 1"
    )
    assert (row["publication_id"], row["cut_id"], row["generation"], row["event_time"]) == cut
    assert (row["user_avg_completion_rate"], row["user_avg_scroll_ratio"]) == (1 / 3, None)
    assert (row["favourite_tags"], row["final_reading_count"], row["is_removed"]) == (
        ["a, b", "war"],
        3,
        False,
    )
    assert [row["popularity_score"] for row in history(store, EPISODE_FEATURE_HISTORY)] == [0.6, 0.8]

    place = store.metastore.all_locations(USER_FEATURE_HISTORY)
    bring(store, "run-1")
    bring(store, "run-2")
    assert values(store) == known
    assert store.metastore.all_locations(USER_FEATURE_HISTORY) == place, "nothing new, nothing moves"
    assert remove_from_outbox(store.connection, store.metastore) == {
        "user_features": 3,
        "episode_features": 2,
    }
    assert waiting(store) == 0
    bring(store, "run-3")
    assert values(store) == known
    assert store.publications("run-3").keys() == {
        f"{name}_features_daily/dt=2026-11-24" for name in ("user", "episode", "segment")
    }


def test_a_reader_who_is_gone_and_a_cut_that_is_published_again(store: Store) -> None:
    known = values(store)
    gone = publish_marts(store, u2=None)
    with store.connection.transaction():  # the run was cleared: the same cut, and other values
        store.connection.execute("UPDATE marts.user_features SET user_exit_rate = 0.35 WHERE user_id = 'u1'")
        [(cut_id, again)] = store.connection.execute(
            "UPDATE ops.model_cuts SET published_at = clock_timestamp()"
            " WHERE cut_id = (SELECT max(cut_id) FROM ops.model_cuts) RETURNING cut_id, published_at"
        )
    bring(store, "run-4")
    assert values(store) == [*known, ("u2", None, gone), ("u1", 0.35, again)]
    removed, repeated = history(store)[-2:]
    assert (removed["is_removed"], removed["favourite_tags"], removed["usual_device"]) == (True, None, None)
    assert (removed["cut_id"], repeated["cut_id"]) == (cut_id, cut_id)


def test_a_change_that_no_publication_made_is_no_value(store: Store) -> None:
    known = values(store)
    store.connection.execute("UPDATE marts.user_features SET user_exit_rate = 0.99 WHERE user_id = 'u1'")
    store.connection.execute("UPDATE marts.user_features SET user_exit_rate = 0.35 WHERE user_id = 'u1'")
    bring(store, "run-5")
    assert values(store) == known
    assert remove_from_outbox(store.connection, store.metastore)["user_features"] == 4
    assert waiting(store) == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_publisher_that_is_killed_adds_nothing_twice_and_loses_nothing(store: Store, moment: str) -> None:
    known, number = values(store), MOMENTS.index(moment)
    episodes = len(history(store, EPISODE_FEATURE_HISTORY))
    rate = 0.25 + number / 100
    at = publish_marts(store, **{f"k{number}": rate})
    killed = subprocess.run(
        [sys.executable, Path(__file__).with_name("publish_killed.py"), moment,
         "--run-id", f"killed-{number}", "--database", store.metastore.database],
        env={**store.submit.env, **store.submit.overrides, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert values(store) in (known, [*known, (f"k{number}", rate, at)]), (
        "readers see all of a publication or none"
    )
    assert store.publications(f"killed-{number}") == {}
    bring(store, f"killed-{number}")
    assert values(store) == [*known, (f"k{number}", rate, at)]
    assert len(history(store, EPISODE_FEATURE_HISTORY)) == episodes + 1
    assert any("user_feature_history" in name for name in store.publications(f"killed-{number}"))
    remove_from_outbox(store.connection, store.metastore)
    assert waiting(store) == 0


def test_files_of_a_day_stay_few(store: Store) -> None:
    known = len(history(store))
    for number in range(2):
        publish_marts(store, u1=0.4 + number / 100)
        bring(store, f"few-{number}")
    assert len(history(store)) == known + 2
    files = [data_files(folder) for folder in store.metastore.all_locations(USER_FEATURE_HISTORY).values()]
    assert max(map(len, files)) > 1, "what is large enough is left as it is"
    assert max(map(len, files)) <= (known + 2).bit_length()


@pytest.fixture
def labels(store: Store) -> list[tuple[str, datetime]]:
    """Readings that began a microsecond before, at and after the moments at which u1 and u2 changed."""
    tick = timedelta(microseconds=1)
    moments = {known_at for user, _, known_at in values(store) if user in ("u1", "u2")}
    return [
        (user, at) for user in ("u1", "u2", "nobody") for it in moments for at in (it - tick, it, it + tick)
    ]


def expected(store: Store, labels: list[tuple[str, datetime]]) -> list[tuple[Any, ...]]:
    """By going through the rows one by one."""
    found = []
    for user, at in sorted(labels):
        before = [row for row in history(store) if row["user_id"] == user and row["known_at"] < at]
        newest = max(
            before, key=lambda row: row["known_at"], default={"cut_id": None, "user_exit_rate": None}
        )
        found.append((user, at, newest["cut_id"], newest["user_exit_rate"]))
    return found


def documented_query(number: int) -> str:
    page = Path(__file__).parents[2] / "docs" / "feature_history.md"
    return re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)[number]  # type: ignore[no-any-return]


def test_duckdb_finds_what_was_known_before_a_moment(
    store: Store, labels: list[tuple[str, datetime]]
) -> None:
    folders = store.metastore.all_locations(USER_FEATURE_HISTORY).values()
    files = [str(path) for folder in folders for path in data_files(folder)]
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.read_parquet(files, union_by_name=True).create_view("history")
        database.execute("CREATE TABLE labels (user_id VARCHAR, started_at TIMESTAMPTZ)")
        database.executemany("INSERT INTO labels VALUES (?, ?)", labels)
        rows = database.execute(documented_query(0)).fetchall()
    wanted = expected(store, labels)
    assert [(user, at.astimezone(UTC), *others) for user, at, *others in rows] == wanted
    assert {rate for _, _, _, rate in wanted} >= {None, 0.1, 0.3, 0.35, 0.5}


def test_hiveserver2_finds_the_same_and_counts_as_published(
    store: Store,
    labels: list[tuple[str, datetime]],
    metastore: str,
    hiveserver2: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook

    for name, value in store.connections(metastore, hiveserver2).items():
        monkeypatch.setenv(name, value)
    database = store.metastore.database
    counts = publish_batch.verify_counts(run_id="few-1", database=database)
    [(name, count)] = [item for item in counts.items() if item[0].startswith("user_feature_history/dt=")]
    assert count == len(store.rows(name.rpartition("=")[2], USER_FEATURE_HISTORY)) > 0
    rows = ", ".join(f"('{user}', TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}')" for user, at in labels)
    with (
        HiveServer2Hook(hiveserver2_conn_id=Conn.HIVESERVER2).get_conn() as opened,
        opened.cursor() as cursor,
    ):
        cursor.execute("SET spark.sql.session.timeZone=UTC")
        cursor.execute(
            f"CREATE TEMPORARY VIEW labels AS SELECT * FROM VALUES {rows} AS rows (user_id, started_at)"
        )
        cursor.execute(documented_query(1).replace("webtoon.", f"{database}."))
        found = cursor.fetchall()
    wanted = expected(store, labels)
    assert [(user, cut_id, rate) for user, _, cut_id, rate in found] == [
        (user, cut_id, rate) for user, _, cut_id, rate in wanted
    ]


def test_marts_of_before_the_migration_begin_the_histories(
    admin_dsn: str, postgres: str, tmp_path: Path
) -> None:
    name = "features_before_histories"
    create_database(admin_dsn, name, owner="webtoon")
    dsn = with_database(postgres, name)
    try:
        last = next(path for path in MIGRATIONS_DIR.glob("*_feature_histories.sql"))
        for path in sorted(MIGRATIONS_DIR.glob("*.sql")):
            if path.name < last.name:
                (tmp_path / path.name).write_bytes(path.read_bytes())
        migrate(dsn, tmp_path)
        with connect(dsn, application_name="test", autocommit=True) as connection:
            connection.execute(
                "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at) VALUES"
                " ('a', 1, 1, '2026-11-01', 'published', '2026-11-02'), ('b', 1, 2, '2026-11-03', 'published', '2026-11-04')"
            )
            connection.execute(
                "INSERT INTO marts.episode_features (episode_id, tags, final_reading_count, final_reader_count,"
                " popularity_score) VALUES ('ep1', '{}', 0, 0, 0), ('ep2', '{}', 0, 0, 0)"
            )
            migrate(dsn)
            rows = connection.execute(
                "SELECT mart, features ->> 'episode_id', cut_id, known_at::date::text FROM ops.mart_changes"
                " INNER JOIN ops.mart_publications USING (publication_id) ORDER BY 2"
            ).fetchall()
        assert rows == [("episode_features", it, 2, "2026-11-04") for it in ("ep1", "ep2")]
    finally:
        drop_database(admin_dsn, name)
