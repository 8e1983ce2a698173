"""Publication to Hive on real PostgreSQL, Spark, metastore and Spark Thrift Server; ledger and landing as the stream writes them."""

import os
import time

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.types.json import Jsonb

from include.common.hive.files import data_files
from include.common.hive.publications import remove_unreferenced_folders
from include.common.hive.tables import (
    CONTENT_QUALITY_DAILY,
    DAILY_MARTS,
    EPISODE_FEATURES_DAILY,
    SESSION_FEATURES,
    USER_FEATURES_DAILY,
)
from include.common.names import Conn
from include.orchestration import publish_batch
from tests.integration.publish_support import DAY_MS, DT, MONDAY_MS, Store, reading


def _fill_marts(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO marts.user_features (user_id, final_reading_count, final_session_count, user_avg_completion_rate,"
        " user_exit_rate, user_avg_dwell_time_s, user_readings_per_session, favourite_tags, usual_device, usual_country)"
        " VALUES ('u1', 4, 2, 0.5, 0.25, 3, 2, '{love,war}', 'phone', 'KR'), ('u2', 1, 1, 0, 1, 3, 1, '{}', 'phone', 'KR')"
    )
    connection.execute(
        "INSERT INTO marts.episode_features (episode_id, launch_date, tags, final_reading_count, final_reader_count,"
        " popularity_score, current_popularity_rank) VALUES ('ep1', '2026-11-01', '{love}', 3, 2, 1.5, 1),"
        " ('ep2', NULL, '{}', 0, 0, 0, NULL), ('ep3', NULL, '{}', 1, 1, 0.5, 3)"
    )
    connection.execute(
        "INSERT INTO marts.segment_features (country, device, final_reading_count, final_session_count,"
        " final_reader_count, segment_avg_completion_rate, segment_exit_rate, segment_avg_dwell_time_s)"
        " VALUES ('KR', 'phone', 5, 3, 2, 0.5, 0.25, 3)"
    )


@pytest.fixture(scope="module")
def store(publish_store: Store) -> Store:
    _fill_marts(publish_store.connection)
    return publish_store


@pytest.fixture
def airflow_connections(
    store: Store, metastore: str, hiveserver2: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections that the tasks use, as the native stack gives them."""
    for name, value in store.connections(metastore, hiveserver2).items():
        monkeypatch.setenv(name, value)


def test_nothing_to_publish_before_the_first_cut(store: Store) -> None:
    done = store.submit.plain("publish_features", "--run-id", "run-0", "--database", store.metastore.database)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no model cut is published yet" in done.stdout


def test_publication_and_its_repeat(store: Store) -> None:
    store.land(
        *(reading(number, MONDAY_MS - DAY_MS + 6 * 3_600_000 * number) for number in range(4)),
        reading(4, MONDAY_MS),
    )
    store.land(reading(5, MONDAY_MS + 1000, episode_id="unheard_of", ui_version="7"))
    store.cut()
    store.land(reading(99, MONDAY_MS))  # behind the cut: not yet
    store.cut("rejected")

    store.publish("run-1")
    assert store.publications("run-1") == {
        f"session_features/dt={DT[0]}": 4,
        f"session_features/dt={DT[1]}": 2,
        f"user_features_daily/dt={DT[1]}": 2,
        f"episode_features_daily/dt={DT[1]}": 3,
        f"segment_features_daily/dt={DT[1]}": 1,
        f"content_quality_daily/dt={DT[0]}": 3,
        f"content_quality_daily/dt={DT[1]}": 2,
    }
    before, after = store.rows(DT[0]), store.rows(DT[1])
    assert [(row["session_id"], row["genre"]) for row in before] == [
        ("s0", "drama"), ("s1", "action"), ("s2", None), ("s3", "thriller"),
    ]  # fmt: skip
    assert [(row["session_id"], row["genre"], row["ledger_position"]) for row in after] == [
        ("s4", "action", 1), ("s5", None, 2),
    ]  # fmt: skip
    assert before[1]["experiments"] == [("cover", "b")]
    assert before[0]["experiments"] == []
    assert before[0]["dwell_time_ms"] == 1000

    places = store.metastore.all_locations(SESSION_FEATURES)
    yesterday = time.time() - DAY_MS / 1000
    for folder in places.values():
        os.utime(folder, (yesterday, yesterday))
    store.publish("run-1")
    assert (
        remove_unreferenced_folders(
            store.connection, store.metastore, SESSION_FEATURES, store.data / "warehouse"
        )
        == []
    )
    moved = store.metastore.all_locations(SESSION_FEATURES)
    assert (store.rows(DT[0]), store.rows(DT[1])) == (before, after)
    assert set(moved) == set(places)
    assert not set(moved.values()) & set(places.values())
    assert all(data_files(folder) for folder in places.values()), "readers of the old folders are not cut off"

    store.publish("run-2")  # nothing new in landing: sessions stay, the day's marts are written again
    assert set(store.publications("run-2")) == {
        f"{table.name}/dt={DT[1]}" for table in DAILY_MARTS.values()
    }  # fmt: skip
    assert store.metastore.all_locations(SESSION_FEATURES) == moved


def test_late_landing_rewrites_the_old_date_whole(store: Store) -> None:
    known = store.rows(DT[0])
    # as if every run had died between pointing the partitions and recording it: all landing is read again
    store.connection.execute("CREATE TEMP TABLE recorded AS SELECT * FROM ops.publications")
    store.connection.execute("DELETE FROM ops.publications")
    store.land(
        reading(6, MONDAY_MS - DAY_MS + 5),
        reading(0, MONDAY_MS - DAY_MS, dwell_time_ms=4242),  # a key once more: the later position counts
    )
    store.cut()
    store.publish("run-3")
    store.connection.execute("INSERT INTO ops.publications SELECT * FROM recorded")
    rows = {row["session_id"]: row for row in store.rows(DT[0])}
    assert sorted(rows) == ["s0", "s1", "s2", "s3", "s6"]
    assert rows["s0"]["dwell_time_ms"] == 4242
    assert [rows[row["session_id"]] for row in known[1:]] == known[1:]
    assert [row["session_id"] for row in store.rows(DT[1])] == ["s4", "s5", "s99"]


def test_marts_are_kept_by_day(store: Store) -> None:
    users = pq.read_table(
        store.metastore.all_locations(USER_FEATURES_DAILY)[(DT[1],)], partitioning=None
    ).to_pylist()
    assert [(row["user_id"], row["user_exit_rate"], row["favourite_tags"]) for row in users] == [
        ("u1", 0.25, ["love", "war"]), ("u2", 1.0, []),
    ]  # fmt: skip
    assert {row["as_of"].isoformat() for row in users} == {"2026-11-24T12:00:00+00:00"}
    episodes = pq.read_table(
        store.metastore.all_locations(EPISODE_FEATURES_DAILY)[(DT[1],)], partitioning=None
    ).to_pylist()
    assert [row["current_popularity_rank"] for row in episodes] == [1, None, 3]


def test_content_quality_says_how_each_episode_was_read_on_a_day(store: Store) -> None:
    """s1 of DT[0] and s4 of DT[1] completed ep1; these follow it there: left at a fifth, left at six tenths, timed out."""
    # a day that lacks it, as those of before this table was there, gets it with the next publication
    folder = store.metastore.all_locations(CONTENT_QUALITY_DAILY)[(DT[0],)]
    before = store.rows(DT[0], CONTENT_QUALITY_DAILY)
    client, database = store.metastore._client, store.metastore.database
    client.drop_partition(database, CONTENT_QUALITY_DAILY.name, [DT[0]], deleteData=False)
    left = {"status": "exited", "is_exit_tag": True, "episode_id": "ep1", "user_id": "u1"}
    store.land(
        reading(10, MONDAY_MS + 10, **left, completion_rate=0.2, max_scroll_ratio=0.2, dwell_time_ms=2004),
        reading(11, MONDAY_MS + 11, **left, completion_rate=0.6, max_scroll_ratio=0.6, dwell_time_ms=4004),
        reading(12, MONDAY_MS + 12, **{**left, "status": "timed_out", "user_id": "u7"}, completion_rate=0.0,
                max_scroll_ratio=None, scroll_event_count=0, dwell_time_ms=8004),
    )  # fmt: skip
    store.cut()
    store.publish("run-quality")
    rows = {row["episode_id"]: row for row in store.rows(DT[1], CONTENT_QUALITY_DAILY)}
    assert {episode: row["reading_count"] for episode, row in rows.items()} == {
        "ep0": 1,
        "ep1": 4,
        "unheard_of": 1,
    }
    [cut] = store.connection.execute("SELECT max(cut_id), max(as_of) FROM ops.model_cuts")
    assert rows["ep1"] == {
        "cut_id": cut[0], "as_of": cut[1], "episode_id": "ep1", "genre": "action",
        "reading_count": 4, "session_count": 4, "reader_count": 3,
        "completed_count": 1, "exited_count": 2, "timed_out_count": 1,
        "completed_share": 0.25, "exit_rate": 0.75, "timed_out_share": 0.25, "avg_completion_rate": 0.45,
        "reached_quarter_share": 0.5, "reached_half_share": 0.5, "reached_three_quarters_share": 0.25,
        "exit_completion_rate_p50": 0.2,
        "scroll_reading_count": 3, "avg_scroll_ratio": pytest.approx(1.55 / 3), "scroll_events_per_reading": 0.75,
        "avg_dwell_time_s": 3.754, "dwell_time_s_p50": 3.004, "dwell_time_s_p90": pytest.approx(6.804),
        "dwell_time_s_p99": pytest.approx(7.884),
    }  # fmt: skip
    assert rows["unheard_of"]["genre"] is None
    assert rows["unheard_of"]["exit_completion_rate_p50"] is None
    assert store.metastore.all_locations(CONTENT_QUALITY_DAILY)[(DT[0],)] != folder
    assert [{**row, "cut_id": cut[0]} for row in before] == store.rows(DT[0], CONTENT_QUALITY_DAILY)


@pytest.mark.usefixtures("airflow_connections")
def test_readers_wait_for_the_partitions_and_see_the_published_counts(store: Store) -> None:
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook
    from airflow.providers.apache.hive.sensors.named_hive_partition import NamedHivePartitionSensor

    database = store.metastore.database
    names = publish_batch.list_partitions(run_id="run-3", database=database)
    assert f"{database}.session_features/dt={DT[0]}" in names
    sensor = NamedHivePartitionSensor(task_id="await", partition_names=names)
    assert sensor.poke({}) is True
    later = NamedHivePartitionSensor(
        task_id="later", partition_names=[f"{database}.session_features/dt=2027-01-01"]
    )
    assert later.poke({}) is False

    counts = publish_batch.verify_counts(run_id="run-3", database=database)
    assert counts[f"session_features/dt={DT[0]}"] == 5
    assert publish_batch.verify_counts(run_id="run-1", database=database) == counts
    hook = HiveServer2Hook(hiveserver2_conn_id=Conn.HIVESERVER2)
    rows = hook.get_records(
        f"SELECT user_id, experiments['cover'], genre, started_at FROM {database}.session_features"
        f" WHERE dt = '{DT[0]}' AND session_id = 's1'"
    )
    assert [tuple(map(str, row)) for row in rows] == [("u1", "b", "action", "2026-11-23 06:00:00")]

    store.connection.execute(
        "UPDATE ops.publications SET row_count = row_count + 1 WHERE run_id = 'run-3' AND hive_table = 'session_features'"
    )
    with pytest.raises(publish_batch.PublicationMismatchError, match="published 6, readable 5"):
        publish_batch.verify_counts(run_id="run-3", database=database)


def test_folders_that_nobody_needs_are_removed(store: Store) -> None:
    root = SESSION_FEATURES.location(store.data / "warehouse")
    folders = set(root.glob("publication=*/dt=*"))
    assert remove_unreferenced_folders(store.connection, store.metastore, SESSION_FEATURES, root.parent) == []
    yesterday = time.time() - DAY_MS / 1000
    for folder in [*folders, *root.glob("publication=*")]:
        os.utime(folder, (yesterday, yesterday))
    removed = set(
        remove_unreferenced_folders(store.connection, store.metastore, SESSION_FEATURES, root.parent)
    )
    assert removed
    left = set(root.glob("publication=*/dt=*"))
    assert left == folders - removed
    assert set(store.metastore.all_locations(SESSION_FEATURES).values()) < left


@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_landing_that_differs_from_the_ledger_is_refused(store: Store, fault: str) -> None:
    path = store.land(reading(70 + len(fault), MONDAY_MS))
    store.cut()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\0") if fault == "changed" else path.unlink()
    places = store.metastore.all_locations(SESSION_FEATURES)
    done = store.submit.plain("publish_features", "--run-id", "run-4", "--database", store.metastore.database)
    path.write_bytes(content)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{path} {'has another SHA-256' if fault == 'changed' else 'is missing'}" in done.stderr
    assert store.metastore.all_locations(SESSION_FEATURES) == places
    assert store.publications("run-4") == {}


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        ([], {}, "the following arguments are required: --run-id"),
        (["--run-id", "x"], {"WEBTOON_METASTORE_URI": ""}, "WEBTOON_METASTORE_URI is not set"),
        (
            ["--run-id", "x"],
            {"WEBTOON_METASTORE_URI": "thrift://127.0.0.1:1"},
            "no Hive metastore answers at",
        ),
        (["--run-id", "x"], {"WEBTOON_METASTORE_URI": "127.0.0.1:1"}, "is not thrift://host:port"),
        (["--run-id", "x"], {"WEBTOON_DATA_DIR": "/nonexistent"}, "is the data folder"),
    ],
)
def test_bad_input_is_one_clear_line(
    store: Store, arguments: list[str], env: dict[str, str], message: str
) -> None:
    database = ["--database", store.metastore.database]
    done = store.submit.plain("publish_features", *arguments, *database, **env)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_hive_keeps_every_column_of_the_marts(store: Store) -> None:
    for mart, table in DAILY_MARTS.items():
        stored = store.connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'marts' AND table_name = %s"
            " ORDER BY ordinal_position",
            (mart,),
        ).fetchall()
        assert {row[0] for row in stored} == set(table.column_names()[2:])


def test_after_a_roll_out_each_session_is_published_from_the_generation_that_computed_it(
    store: Store,
) -> None:
    """Also where the new rules cut sessions otherwise, so that no key says which old row a new one replaces."""
    point_ms = MONDAY_MS - DAY_MS // 2
    before = store.sessions(DT[0]), store.sessions(DT[1])
    assert before[0] == [("s0", 1), ("s1", 1), ("s2", 1), ("s3", 1), ("s6", 1)]
    store.land(reading(8, MONDAY_MS - DAY_MS + 1))  # final, and not yet published when the generations change
    rules = Jsonb({"publish_from_ms": point_ms, "follows": 1})
    store.connection.execute("UPDATE ops.stream_generations SET status = 'retired'")
    store.connection.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (2, 'current', 'c', %s)",
        (rules,),
    )
    store.land(reading(2, point_ms + 60_000), generation=2)
    store.cut(generation=2)

    store.publish("run-5")
    assert store.sessions(DT[0]) == [("s0", 1), ("s1", 1), ("s2", 2), ("s6", 1), ("s8", 1)]
    assert store.rows(DT[1]) == [], "its sessions are all to be computed anew, and none is final yet"
    published = store.publications("run-5")
    assert (published[f"session_features/dt={DT[0]}"], published[f"session_features/dt={DT[1]}"]) == (5, 0)

    store.cut(generation=1)  # rolled back
    store.publish("run-6")
    assert store.sessions(DT[0]) == sorted([*before[0], ("s8", 1)])
    assert store.sessions(DT[1]) == sorted([*before[1], ("s77", 1)])
