"""A reading is seen with the genre and rating of when it began, an episode with those of the cut, wherever one looks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.common.hive.schema import HiveTable
from include.common.hive.tables import CONTENT_QUALITY_DAILY, EPISODE_FEATURES_DAILY, SESSION_FEATURES
from include.dbt.command import run_dbt, store_environment
from include.orchestration import model
from include.orchestration.reference_load import load_source
from tests.integration.model_store import Store as ModelStore
from tests.integration.publish_support import Store, open_store, reading
from tests.reference_folder import ReferenceFolder


@pytest.fixture
def store(
    feature_db: str, data_dir: Path, metastore: str, stack_env: dict[str, str], spark_jars: str
) -> Iterator[Store]:
    with open_store(feature_db, data_dir, metastore, stack_env, spark_jars) as opened:
        yield opened


def in_hive(store: Store, table: HiveTable, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of all rows, by date and key."""
    days = sorted(store.metastore.all_locations(table))
    return [tuple(row[name] for name in columns) for (dt,) in days for row in store.rows(dt, table)]


def test_view_mart_and_hive_see_a_rating_and_genre_as_of_the_reading_or_the_cut(
    store: Store, feature_db: str, tmp_path: Path
) -> None:
    folder = ReferenceFolder(tmp_path / "reference")
    readings = ModelStore(feature_db)

    def load() -> None:
        load_source(feature_db, str(folder.path), dry_run=False)

    load()
    before = datetime.now(UTC).replace(microsecond=1000)
    folder.edit("titles.csv", "romance", "drama").edit("episodes.csv", "8.25", "9.5")
    load()
    # milliseconds, as events have them
    after = before + timedelta(milliseconds=1 + (datetime.now(UTC) - before) // timedelta(milliseconds=1))
    began = {"s1": before, "s2": after}
    landed = [
        reading(
            number, round(at.timestamp() * 1000), session_id=session, episode_id="e1", user_id=f"u-{session}",
            ended_at_ms=round(at.timestamp() * 1000),
        )
        for number, (session, at) in enumerate(began.items())
    ]  # fmt: skip
    store.land(*landed)
    for session, at in began.items():
        readings.reading(1, session, "e1", f"u-{session}", ended=at, started=at)
    while datetime.now(UTC) <= after:
        pass
    folder.edit("titles.csv", "drama", "horror").edit("episodes.csv", "9.5", "1")
    load()  # after both readings and the cut's as_of

    seen = [("s1", "romance", 8.25), ("s2", "drama", 9.5)]
    served = "SELECT session_id, genre, episode_rating FROM serving.session_features ORDER BY 1"
    assert readings.execute(served) == seen
    cut = model.fix_cut(feature_db, "run-1")
    run_dbt(["run", "--full-refresh", "--quiet"], store_environment(feature_db), tmp_path / "dbt")
    model.publish(feature_db, cut.cut_id)
    assert readings.execute("SELECT user_id, favourite_genre FROM marts.user_features ORDER BY 1") == [
        ("u-s1", "romance"), ("u-s2", "drama"),
    ]  # fmt: skip
    episode = "SELECT episode_id, genre, episode_avg_rating FROM marts.episode_features WHERE final_reading_count > 0"
    as_of_cut = [("e1", "drama", 9.5)]
    assert readings.execute(episode) == as_of_cut

    store.publish("run-1")
    assert in_hive(store, SESSION_FEATURES, "session_id", "genre", "episode_rating") == seen
    assert as_of_cut[0] in in_hive(store, EPISODE_FEATURES_DAILY, "episode_id", "genre", "episode_avg_rating")
    assert ("e1", "drama") in in_hive(store, CONTENT_QUALITY_DAILY, "episode_id", "genre")
