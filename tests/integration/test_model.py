"""Cut, dbt marts, publication and serving views on a real PostgreSQL, against numbers worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.common.names import MARTS
from include.dbt.command import DbtFailedError
from include.orchestration import model
from tests.integration.model_store import AS_OF, HOUR, Store, seed_small_case


@pytest.fixture(scope="module")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target folder of this module's own, so that a DAG's manifest is left alone."""
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture
def store(feature_db: str) -> Store:
    """The hand-computed small case."""
    store = Store(feature_db)
    seed_small_case(store)
    return store


@pytest.fixture
def dbt(store: Store, dbt_target: Path) -> Callable[..., None]:
    """`dbt("build", ...)` against this test's database."""
    return lambda *arguments: store.dbt(arguments, dbt_target)


def popularity(store: Store, table: str = "marts.episode_features") -> dict[str, tuple[float, int | None]]:
    return {
        row[0]: (row[1], row[2])
        for row in store.execute(f"SELECT episode_id, popularity_score, current_popularity_rank FROM {table}")
    }


def test_cut_to_marts_gives_the_numbers_worked_out_by_hand(store: Store, dbt: Callable[..., None]) -> None:
    cut = model.fix_cut(store.dsn, "run1")
    assert datetime.fromisoformat(cut.as_of) == AS_OF
    # committed after the cut was fixed: must not count
    store.reading(store.batch(), "s6", "e3", "u5", AS_OF + HOUR)
    dbt("build")
    changed = model.publish(store.dsn, cut.cut_id)
    assert changed == {"user_features": 3, "episode_features": 4, "segment_features": 3}
    noted = store.execute(
        "SELECT mart, is_removed, features FROM ops.mart_changes ORDER BY 1, features ->> 'user_id'"
    )
    assert [row[2]["user_id"] for row in noted if row[0] == "user_features"] == ["u1", "u2", "u3"]
    assert [row[:2] for row in noted if row[0] != "user_features"] == [("episode_features", False)] * 4

    assert popularity(store) == {"e1": (0.5, 2), "e2": (0.75, 1), "e3": (0.0, None), "e9": (0.25, 3)}
    episodes = {row["episode_id"]: row for row in store.table("marts.episode_features", "episode_id")}
    assert episodes["e1"] == {
        "episode_id": "e1",
        "title_id": "t1",
        "title": "Title",
        "episode_number": 1,
        "genre": "drama",
        "tags": ["love"],
        "launch_date": "2026-03-01",
        "episode_avg_rating": 9,  # the version valid at the cut
        "final_reading_count": 2,
        "final_reader_count": 2,
        "episode_avg_completion_rate": 1,
        "episode_exit_rate": 0,
        "episode_avg_scroll_ratio": 0.5,
        "episode_avg_dwell_time_s": 1.5,
        "popularity_score": 0.5,
        "current_popularity_rank": 2,
    }
    assert episodes["e9"]["title"] is None
    assert episodes["e3"]["episode_avg_completion_rate"] is None
    assert store.table("marts.user_features", "user_id")[0] == {
        "user_id": "u1",
        "final_reading_count": 2,
        "final_session_count": 1,
        "user_avg_completion_rate": 0.625,
        "user_exit_rate": 0.5,
        "user_avg_scroll_ratio": 0.375,
        "user_avg_dwell_time_s": 1.5,
        "user_readings_per_session": 2,
        "favourite_genre": "drama",  # tie of one reading each, won by completion
        "favourite_genre_share": 0.5,
        "favourite_tags": ["fight", "love", "school"],  # e1's tags as of the reading, not of the cut
        "usual_device": "phone",
        "usual_country": "KR",
    }
    assert store.table("marts.segment_features", "country, device") == [
        {
            "country": "KR",
            "device": "phone",
            "final_reading_count": 3,
            "final_session_count": 2,
            "final_reader_count": 2,
            "segment_avg_completion_rate": 0.75,
            "segment_exit_rate": 1 / 3,
            "segment_avg_scroll_ratio": 0.375,
            "segment_avg_dwell_time_s": 4 / 3,
            "top_genre": "drama",
        },
        {
            "country": "KR",
            "device": "tablet",
            "final_reading_count": 1,
            "final_session_count": 1,
            "final_reader_count": 1,
            "segment_avg_completion_rate": 1,
            "segment_exit_rate": 0,
            "segment_avg_scroll_ratio": None,
            "segment_avg_dwell_time_s": 1,
            "top_genre": None,
        },
        {
            "country": "US",
            "device": "phone",
            "final_reading_count": 1,
            "final_session_count": 1,
            "final_reader_count": 1,
            "segment_avg_completion_rate": 0.75,
            "segment_exit_rate": 1,
            "segment_avg_scroll_ratio": 0.75,
            "segment_avg_dwell_time_s": 1,
            "top_genre": "action",
        },
    ]
    assert store.execute("SELECT status, published_at IS NOT NULL FROM ops.model_cuts") == [
        ("published", True)
    ]
    # cleared and run again: the same cut, the same rows, nothing to change
    again = model.fix_cut(store.dsn, "run1")
    assert replace(again, rebuild_reason=cut.rebuild_reason) == cut
    assert (cut.rebuild_reason, again.is_rebuild) == ("no cut is published yet", True)
    named = store.execute("SELECT cut_id FROM serving.published_cut")
    assert named == [(cut.cut_id,)], "while it runs again, marts hold what it published before"
    dbt("run")
    assert set(model.publish(store.dsn, cut.cut_id).values()) == {0}
    publications = store.execute(
        "SELECT cut_id, count(features) FROM ops.mart_publications"
        " LEFT JOIN ops.mart_changes USING (publication_id) GROUP BY publication_id, cut_id ORDER BY publication_id"
    )
    assert publications == [(cut.cut_id, 7), (cut.cut_id, 0)], "published twice, changed once"
    assert_contracts_equal_the_published_tables(store)
    assert_serving_views_read_each_feature_from_its_home(store)
    assert_stale_sources_are_said(store, dbt)


def assert_contracts_equal_the_published_tables(store: Store) -> None:
    """dbt's enforced contracts made the candidate's columns; the migration made those of marts."""
    for mart in MARTS:
        columns = {
            schema: store.execute(
                "SELECT column_name, data_type, udt_name, is_nullable FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
                (schema, mart),
            )
            for schema in ("marts_candidate", "marts")
        }
        assert columns["marts"] == columns["marts_candidate"]
        assert columns["marts"] != []


def assert_stale_sources_are_said(store: Store, dbt: Callable[..., None]) -> None:
    """`dbt source freshness`: the stream by its ledger, the model by its publications."""
    dbt("source", "freshness")
    store.execute("UPDATE ops.model_cuts SET published_at = now() - interval '3 hours'")
    with pytest.raises(DbtFailedError, match=r"source\.webtoon\.ops\.model_cuts"):
        dbt("source", "freshness")
    store.execute("UPDATE ops.stream_batches SET committed_at = now() - interval '7 hours'")
    with pytest.raises(DbtFailedError, match=r"source\.webtoon\.realtime\.session_features"):
        dbt("source", "freshness")


def assert_serving_views_read_each_feature_from_its_home(store: Store) -> None:
    store.execute(
        "INSERT INTO realtime.user_features VALUES ('u1', 1, 4, 1, 3, 2000000, 9, 8000, %s, 'e2', %s, 1, 0, %s)",
        (AS_OF, AS_OF, AS_OF + timedelta(seconds=2)),
    )
    store.execute(
        "INSERT INTO realtime.episode_features VALUES ('e1', 0, 2, 2, 0, 1, 1500000, 250000, 3, 4000, %s, %s, 1, 0, %s)",
        (AS_OF, AS_OF, AS_OF + timedelta(seconds=3)),
    )
    [user] = store.table("serving.user_features", "user_id")
    assert (user["readings_closed"], user["realtime_avg_completion_rate"], user["realtime_exit_rate"]) == (
        4,
        0.5,
        0.75,
    )
    assert (user["realtime_avg_dwell_time_s"], user["realtime_freshness_s"]) == (2, 2)
    assert (user["user_avg_completion_rate"], user["favourite_genre"]) == (0.625, "drama")
    [(cut_id,)] = store.execute("SELECT cut_id FROM ops.model_cuts")
    assert user["marts_cut_id"] == cut_id
    assert datetime.fromisoformat(user["marts_as_of"]) == AS_OF
    episodes = {row["episode_id"]: row for row in store.table("serving.episode_features", "episode_id")}
    assert set(episodes) == {"e1", "e2", "e3", "e9"}
    assert (episodes["e1"]["realtime_avg_scroll_ratio"], episodes["e1"]["current_popularity_rank"]) == (
        0.25,
        2,
    )
    assert (episodes["e3"]["readings_closed"], episodes["e3"]["last_read_at"]) == (0, None)
    sessions = {
        row["session_id"] + row["episode_id"]: row for row in store.table("serving.session_features", "1")
    }
    assert sessions["s1e1"]["tags"] == ["love", "school"]
    assert (sessions["s5e1"]["status"], sessions["s5e1"]["tags"]) == ("active", ["love"])
    assert sessions["s3e9"]["genre"] is None
    # a lookup goes by the keys in every branch of the views
    for view, key in (("user_features", "user_id"), ("episode_features", "episode_id")):
        with psycopg.connect(store.dsn) as connection:
            connection.execute("SET enable_seqscan = off")
            row = connection.execute(
                f"EXPLAIN (FORMAT JSON) SELECT * FROM serving.{view} WHERE {key} = 'x'"
            ).fetchone()
        assert row is not None
        scans = [(node["Node Type"], node["Relation Name"]) for node in plan_nodes(row[0][0]["Plan"])]
        assert len([scan for scan in scans if scan[1] == view]) >= 2
        assert [scan for scan in scans if scan[1] == view and "Index" not in scan[0]] == []


def plan_nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Scans of relations in a plan, depth first."""
    below = [found for child in node.get("Plans", []) for found in plan_nodes(child)]
    return [node, *below] if "Relation Name" in node else below


def test_session_number_is_a_rank_among_the_sessions_of_one_id(store: Store) -> None:
    position = store.batch()
    store.reading(position, "s1", "e1", "u1", AS_OF, start_ms=7)
    store.reading(position, "s1", "e2", "u1", AS_OF, start_ms=7)
    rows = store.execute(
        "SELECT session_start_ms, episode_id, session_number FROM serving.session_features "
        "WHERE session_id = 's1' ORDER BY 1, 2"
    )
    assert rows == [(0, "e1", 1), (0, "e2", 1), (7, "e1", 2), (7, "e2", 2)]


def test_dbt_unit_tests_pass_and_a_missing_setting_stops_before_the_marts(
    store: Store, dbt: Callable[..., None]
) -> None:
    model.fix_cut(store.dsn, "run1")
    dbt("build")  # data tests and unit tests
    before = store.table("marts_candidate.episode_features", "episode_id")
    store.execute("DELETE FROM reference.thresholds WHERE name = 'popularity_exited_weight'")
    store.reading(store.batch(), "s7", "e1", "u1", AS_OF)
    with pytest.raises(DbtFailedError, match="not_null_int_model_cut_popularity_exited_weight"):
        dbt("build", "--exclude-resource-type", "unit_test")
    assert store.table("marts_candidate.episode_features", "episode_id") == before


def test_no_cut_where_nothing_is_committed_or_final(feature_db: str) -> None:
    with pytest.raises(model.NothingToModelError, match="not committed a micro-batch"):
        model.fix_cut(feature_db, "run1")
    store = Store(feature_db)
    store.reading(store.batch(), "s1", "e1", "u1", AS_OF, is_final=False)
    with pytest.raises(model.NothingToModelError, match="no reading is final"):
        model.fix_cut(feature_db, "run1")
    assert store.execute("SELECT * FROM ops.model_cuts") == []


def test_a_rejected_or_foreign_candidate_is_not_published(store: Store, dbt: Callable[..., None]) -> None:
    first = model.fix_cut(store.dsn, "run1")
    dbt("run")
    model.publish(store.dsn, first.cut_id)
    published = {mart: store.table(f"marts.{mart}", "1") for mart in MARTS}

    store.reading(store.batch(), "s8", "e3", "u9", AS_OF + HOUR)
    second = model.fix_cut(store.dsn, "run2")
    assert second.ledger_position > first.ledger_position
    with pytest.raises(model.CandidateMismatchError, match="were built from cut"):
        model.publish(store.dsn, second.cut_id)  # the candidate is still of the first cut
    dbt("run")
    model.reject_cut(store.dsn, second.cut_id)
    with pytest.raises(model.CandidateMismatchError, match="is rejected, not open"):
        model.publish(store.dsn, second.cut_id)
    assert {mart: store.table(f"marts.{mart}", "1") for mart in MARTS} == published
    assert store.execute("SELECT cut_id FROM serving.published_cut") == [(first.cut_id,)]

    third = model.fix_cut(store.dsn, "run3")
    dbt("run")
    changed = model.publish(store.dsn, third.cut_id)
    assert changed["user_features"] == 1  # u9; the others are as they were
    with pytest.raises(model.NothingToModelError, match="trigger a new run instead"):
        model.fix_cut(store.dsn, "run1")


def test_an_interrupted_run_leaves_no_second_open_cut(store: Store) -> None:
    model.fix_cut(store.dsn, "run1")
    model.fix_cut(store.dsn, "run2")
    assert store.execute("SELECT run_id, status FROM ops.model_cuts ORDER BY cut_id") == [
        ("run1", "rejected"),
        ("run2", "open"),
    ]


def test_publication_fails_as_a_whole(store: Store, dbt: Callable[..., None]) -> None:
    cut = model.fix_cut(store.dsn, "run1")
    dbt("run")
    store.execute("ALTER TABLE marts.segment_features ADD CONSTRAINT refuse CHECK (final_reading_count < 0)")
    with pytest.raises(psycopg.errors.CheckViolation):
        model.publish(store.dsn, cut.cut_id)
    assert store.table("marts.user_features", "1") == []  # was moved before, in the same transaction
    assert store.execute("SELECT status FROM ops.model_cuts") == [("open",)]


def test_a_cut_whose_generation_was_swapped_out_is_not_published(store: Store) -> None:
    """dbt would have read the rows of another generation than the gate, or none."""
    cut = model.fix_cut(store.dsn, "run1")
    store.execute(f"CREATE TABLE marts_candidate.int_model_cut AS SELECT {cut.cut_id}::bigint AS cut_id")
    store.execute("UPDATE ops.stream_generations SET status = 'retired'")
    with pytest.raises(model.CandidateMismatchError, match="swapped out while dbt read"):
        model.publish(store.dsn, cut.cut_id)
    with pytest.raises(model.NothingToModelError, match="swapped out since: trigger a new run"):
        model.fix_cut(store.dsn, "run1")
    assert store.table("marts.user_features", "1") == []
