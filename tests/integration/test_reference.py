"""reference__load on a real PostgreSQL: versions by validity interval, and the DAG on a whole Airflow."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.common.names import Dag, Pg
from include.common.reference.csv_files import InvalidFilesError
from include.common.reference.store import Changes, MassChangeError, ReferenceStoreError, mass_changes
from include.common.thresholds import THRESHOLDS
from include.orchestration.archive import reference_of_gate
from include.orchestration.reference_load import SIMULATOR, load_source
from tests.integration.conftest import AirflowStack
from tests.integration.model_store import Store as ModelStore
from tests.reference_folder import FILES, ReferenceFolder

THRESHOLDS_HEADER = "name,value,unit,meaning\n"
TABLES = (Pg.TITLES, Pg.EPISODE_METADATA, Pg.COUNTRY_TIME_ZONES, Pg.EXPERIMENTS, Pg.THRESHOLDS)


class Store:
    """A feature database, and the folder that is loaded into it."""

    def __init__(self, dsn: str, folder: ReferenceFolder) -> None:
        self.dsn = dsn
        self.folder = folder
        self.told: list[str] = []
        """Mass changes and warnings of the last load."""

    def load(self, *, dry_run: bool = False, allow_mass_change: bool = False) -> dict[str, Changes]:
        load = load_source(
            self.dsn, str(self.folder.path), dry_run=dry_run, allow_mass_change=allow_mass_change
        )
        self.told = load.mass_changes + load.warnings
        return {it.table: it for it in load.changes}

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(query, parameters)  # type: ignore[arg-type]  # a test's own query
            return cursor.fetchall() if cursor.description else []

    def contents(self) -> list[list[tuple[Any, ...]]]:
        """Every row of every table, the moments as text (Python has no infinity)."""
        return [
            self.sql(f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY to_jsonb(t)::text")
            for table in TABLES
        ]

    def versions(self, table: str, value: str, **key: str) -> list[tuple[Any, str, str]]:
        """(value, valid_from, valid_to) of each version of a key, oldest first."""
        where = " AND ".join(f"{name} = %s" for name in key)
        return self.sql(
            f"SELECT {value}, valid_from::text, valid_to::text FROM {table} WHERE {where} ORDER BY valid_from",
            *key.values(),
        )

    def as_of(self, table: str, value: str, moment: str, **key: str) -> list[Any]:
        """The point-in-time join's condition."""
        where = " AND ".join(f"{name} = %s" for name in key)
        rows = self.sql(
            f"SELECT {value} FROM {table} WHERE %s::timestamptz >= valid_from AND %s::timestamptz < valid_to"
            f" AND {where}",
            moment, moment, *key.values(),
        )  # fmt: skip
        return [row[0] for row in rows]


@pytest.fixture
def store(feature_db: str, tmp_path: Path) -> Store:
    return Store(feature_db, ReferenceFolder(tmp_path / "reference"))


def test_first_load_is_valid_from_ever(store: Store) -> None:
    changes = store.load()
    assert {table: it.added for table, it in changes.items()} == {
        Pg.TITLES: 2, Pg.EPISODE_METADATA: 3, Pg.COUNTRY_TIME_ZONES: 2, Pg.EXPERIMENTS: 5,
        Pg.THRESHOLDS: len(THRESHOLDS),
    }  # fmt: skip
    for table in TABLES:
        assert store.sql(f"SELECT DISTINCT valid_from::text, valid_to::text FROM {table}") == [
            ("-infinity", "infinity")
        ]
    row = store.sql(
        "SELECT title_id, title, episode_number, genre, tags, rating::text, launch_date::text"
        " FROM reference.episode_metadata WHERE episode_id = 'e1'"
    )
    assert row == [("t1", "달빛 우체국", 1, "romance", ["slow burn", "office"], "8.25", "2026-01-05")]
    assert store.sql("SELECT country, utc_offset_minutes FROM reference.country_time_zones ORDER BY 1") == [
        ("IN", 330), ("KR", 540),
    ]  # fmt: skip
    assert store.as_of(Pg.EPISODE_METADATA, "title", "2020-01-01", episode_id="e3") == ["Gates"]


def test_loading_twice_is_loading_once(store: Store) -> None:
    store.load()
    before = store.contents()
    changes = store.load()
    assert store.contents() == before
    assert all(it.is_empty for it in changes.values())
    assert changes[Pg.EPISODE_METADATA] == Changes(Pg.EPISODE_METADATA, unchanged=3)


def test_a_changed_rating_makes_a_version_and_the_point_in_time_join_sees_the_right_one(store: Store) -> None:
    store.load()
    store.folder.edit("episodes.csv", "8.25", "9.5")
    changes = store.load()
    assert changes[Pg.EPISODE_METADATA] == Changes(
        Pg.EPISODE_METADATA, changed=1, unchanged=2, examples=("changed e1",)
    )
    assert changes[Pg.TITLES].is_empty
    (old, old_from, old_to), (new, new_from, new_to) = store.versions(
        Pg.EPISODE_METADATA, "rating::text", episode_id="e1"
    )
    assert (old, old_from, new, new_to) == ("8.25", "-infinity", "9.50", "infinity")
    assert old_to == new_from

    just_before = datetime.fromisoformat(new_from) - timedelta(microseconds=1)
    for moment, rating in (
        ("2020-01-01", "8.25"), (just_before.isoformat(), "8.25"), (new_from, "9.50"), ("2100-01-01", "9.50"),
    ):  # fmt: skip
        assert store.as_of(Pg.EPISODE_METADATA, "rating::text", moment, episode_id="e1") == [rating]


def test_a_reading_is_served_with_the_genre_of_when_it_began(store: Store) -> None:
    readings = ModelStore(store.dsn)
    position = readings.batch()
    before_any_load = datetime.now(UTC)
    store.load()
    store.folder.edit("titles.csv", "romance", "drama")
    store.load()
    after_both = datetime.now(UTC)
    for session, started in (("s1", before_any_load), ("s2", after_both)):
        readings.reading(position, session, "e1", "u1", ended=started + timedelta(minutes=1), started=started)
    served = "SELECT session_id, genre, title FROM serving.session_features ORDER BY session_id"
    assert store.sql(served) == [("s1", "romance", "달빛 우체국"), ("s2", "drama", "달빛 우체국")]


def test_a_changed_title_reaches_its_episodes_at_the_same_moment(store: Store) -> None:
    store.load()
    store.folder.edit("titles.csv", "romance", "drama")
    changes = store.load()
    assert (changes[Pg.TITLES].changed, changes[Pg.EPISODE_METADATA].changed) == (1, 2)
    title = store.versions(Pg.TITLES, "genre", title_id="t1")
    assert store.versions(Pg.EPISODE_METADATA, "genre", episode_id="e2") == title
    assert [version[0] for version in title] == ["romance", "drama"]


def test_vanish_and_return(store: Store) -> None:
    store.load()
    whole = FILES["episodes.csv"]
    store.folder.edit("episodes.csv", "e2,t1,2,7,2026-01-12\n", "")
    assert store.load()[Pg.EPISODE_METADATA].examples == ("removed e2",)
    assert store.load()[Pg.EPISODE_METADATA].is_empty
    store.folder.write("episodes.csv", whole)
    assert store.load()[Pg.EPISODE_METADATA].examples == ("added e2",)

    (_, first_from, first_to), (_, second_from, second_to) = store.versions(
        Pg.EPISODE_METADATA, "title", episode_id="e2"
    )
    assert (first_from, second_to) == ("-infinity", "infinity")
    assert datetime.fromisoformat(first_to) < datetime.fromisoformat(second_from)
    assert store.as_of(Pg.EPISODE_METADATA, "rating", first_to, episode_id="e2") == []
    assert len(store.as_of(Pg.EPISODE_METADATA, "rating", second_from, episode_id="e2")) == 1


def test_a_new_episode_is_valid_from_ever_however_late_it_is_loaded(store: Store) -> None:
    store.load()
    store.folder.edit("episodes.csv", "e3,", "e4,t2,2,5,2026-02-01\ne3,")
    assert store.load()[Pg.EPISODE_METADATA].examples == ("added e4",)
    assert [version[1:] for version in store.versions(Pg.EPISODE_METADATA, "title", episode_id="e4")] == [
        ("-infinity", "infinity")
    ]


def test_shares_in_force_sum_to_1_at_any_time(store: Store) -> None:
    store.load()
    store.folder.edit("experiments.csv", "viewer,paged,0.5\n", "viewer,paged,0.25\nviewer,strip,0.25\n")
    changes = store.load()[Pg.EXPERIMENTS]
    assert changes.examples == ("added viewer/strip", "changed viewer/paged")
    for moment in ("2020-01-01", "2100-01-01"):
        assert store.as_of(Pg.EXPERIMENTS, "sum(share)::text", moment, experiment="viewer") == ["1.00000"]


def test_invalid_files_change_nothing(store: Store) -> None:
    store.load()
    before = store.contents()
    store.folder.edit("titles.csv", "Gates", "Doors").edit("experiments.csv", "paged,0.5", "paged,0.6")
    with pytest.raises(InvalidFilesError, match=r"shares of experiment 'viewer' sum to 1\.1"):
        store.load()
    assert store.contents() == before


def test_a_failure_in_the_middle_changes_nothing(store: Store) -> None:
    store.load()
    before = store.contents()
    store.sql("ALTER TABLE reference.thresholds ADD CHECK (value < 30) NOT VALID")
    store.folder.edit("titles.csv", "Gates", "Doors")
    store.folder.write("thresholds.csv", "name,value,unit,meaning\npopularity_window_days,31,days,\n")
    with pytest.raises(psycopg.errors.CheckViolation):
        store.load()
    assert store.contents() == before


def test_a_dry_run_reports_and_changes_nothing(store: Store) -> None:
    store.load()
    before = store.contents()
    store.folder.edit("titles.csv", "Gates", "Doors")
    planned = store.load(dry_run=True)
    assert planned[Pg.TITLES] == Changes(Pg.TITLES, changed=1, unchanged=1, examples=("changed t2",))
    assert store.contents() == before
    assert store.load() == planned


def episodes_csv(numbers: range, rating: str = "5") -> str:
    lines = (f"m{number},t1,{number + 10},{rating},2026-02-01" for number in numbers)
    return FILES["episodes.csv"] + "\n".join(lines) + "\n"


def test_a_truncated_export_is_refused_until_somebody_allows_it(store: Store) -> None:
    store.folder.write("episodes.csv", episodes_csv(range(97)))
    store.load()
    before = store.contents()
    store.folder.write("episodes.csv", episodes_csv(range(86)))
    refused = re.escape(
        "would remove 11 of 100 rows of reference.episode_metadata, more than 10% (removed m86, m87"
    )
    for dry_run in (True, False):
        with pytest.raises(MassChangeError, match=refused):
            store.load(dry_run=dry_run)
    store.folder.write("thresholds.csv", f"{THRESHOLDS_HEADER}reference_removed_share,1,share,\n")
    with pytest.raises(MassChangeError):  # a load does not lift its own limit
        store.load()
    assert store.contents() == before
    assert store.load(dry_run=True, allow_mass_change=True)[Pg.EPISODE_METADATA].removed == 11
    assert any("remove 11 of 100" in text for text in store.told)
    assert store.contents() == before
    store.folder.write("episodes.csv", episodes_csv(range(87))).remove("thresholds.csv")
    assert store.load()[Pg.EPISODE_METADATA].removed == 10, "few rows, and a tenth"
    assert store.told == []
    store.folder.write("episodes.csv", FILES["episodes.csv"])
    assert store.load(allow_mass_change=True)[Pg.EPISODE_METADATA].removed == 87


def test_ratings_of_more_than_half_the_catalogue_change_only_when_asked(store: Store) -> None:
    store.folder.write("episodes.csv", episodes_csv(range(97)))
    store.load()
    half = episodes_csv(range(97)).replace(",5,", ",6,", 50)
    store.folder.write("episodes.csv", half)
    assert store.load()[Pg.EPISODE_METADATA].changed == 50
    store.folder.write("episodes.csv", half.replace(",6,", ",7,").replace(",5,", ",7,", 1))
    with pytest.raises(MassChangeError, match=r"would change 51 of 100 rows of reference\.episode_metadata"):
        store.load()
    store.sql(
        "INSERT INTO reference.thresholds VALUES ('reference_changed_share', 0.6, 'share', 'set by hand', now())"
        " ON CONFLICT DO NOTHING"
    )
    store.sql("UPDATE reference.thresholds SET value = 0.6 WHERE name = 'reference_changed_share'")
    assert store.load()[Pg.EPISODE_METADATA].changed == 51


def test_offsets_that_change_with_the_clocks_are_no_mass_change() -> None:
    changed = Changes(Pg.COUNTRY_TIME_ZONES, changed=90, unchanged=10)
    limits = {name: it.default for name, it in THRESHOLDS.items()}
    assert mass_changes([changed], limits) == []
    assert len(mass_changes([replace(changed, table=Pg.TITLES)], limits)) == 1
    assert len(mass_changes([Changes(Pg.COUNTRY_TIME_ZONES, removed=11, unchanged=89)], limits)) == 1


def test_what_contradicts_the_readings_is_told_and_loaded(store: Store) -> None:
    store.load()
    readings = ModelStore(store.dsn)
    position = readings.batch()
    launch = datetime(2026, 1, 12, tzinfo=UTC) - timedelta(hours=14)  # e2's date begins, in UTC+14
    for session, episode, started in (("s1", "e2", launch), ("s2", "e3", launch)):
        readings.reading(position, session, episode, "u1", ended=launch + timedelta(hours=1), started=started)
    store.load()
    assert store.told == []
    store.folder.edit("episodes.csv", "e2,t1,2,7,2026-01-12", "e2,t1,2,7,2026-01-13")
    store.folder.edit("episodes.csv", "e3,t2,1,6.5,2025-12-31\n", "")
    assert store.load()[Pg.EPISODE_METADATA].removed == 1
    assert store.told == [
        "titles without an episode (1): t2",
        "episodes read before they launch anywhere on Earth (launch_date, UTC+14) (1): e2",
        "episodes removed though the realtime store has readings of them (1): e3",
    ]
    assert store.load()[Pg.EPISODE_METADATA].is_empty
    assert len(store.told) == 2, "removed once, told once"


def test_thresholds_that_somebody_set_stay_until_a_file_says_otherwise(store: Store) -> None:
    store.load()
    given = f"{THRESHOLDS_HEADER}raw_dead_letter_share,0.2,share,a leaky client\n"
    store.folder.write("thresholds.csv", given)
    changes = store.load()[Pg.THRESHOLDS]
    assert (changes.changed, changes.removed, changes.unchanged) == (1, 0, len(THRESHOLDS) - 1)
    store.folder.remove("thresholds.csv")
    assert store.load()[Pg.THRESHOLDS].is_empty
    assert [version[0] for version in store.versions(Pg.THRESHOLDS, "value", name="raw_dead_letter_share")] == [
        0.05, 0.2,
    ]  # fmt: skip
    with psycopg.connect(store.dsn) as connection:
        episodes, in_force = reference_of_gate(connection)
    assert set(episodes) == {"e1", "e2", "e3"}
    assert in_force == {name: it.default for name, it in THRESHOLDS.items()} | {"raw_dead_letter_share": 0.2}


def test_a_threshold_that_the_table_lacks_gets_its_default(store: Store) -> None:
    store.sql(
        "INSERT INTO reference.thresholds VALUES ('popularity_window_days', 3, 'days', 'set by hand', '-infinity')"
    )
    changes = store.load()[Pg.THRESHOLDS]
    assert (changes.added, changes.unchanged) == (len(THRESHOLDS) - 1, 1)
    assert store.versions(Pg.THRESHOLDS, "value", name="popularity_window_days") == [
        (3.0, "-infinity", "infinity")
    ]


def test_loads_at_the_same_moment_follow_each_other(store: Store, tmp_path: Path) -> None:
    store.load()
    others = [ReferenceFolder(tmp_path / f"r{n}").edit("titles.csv", "Gates", f"Gates {n}") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda it: load_source(store.dsn, str(it.path), dry_run=False), others))
    versions = store.versions(Pg.TITLES, "name", title_id="t2")
    assert sorted(version[0] for version in versions) == ["Gates", *(f"Gates {n}" for n in range(4))]
    assert [version[2] for version in versions[:-1]] == [version[1] for version in versions[1:]]
    assert (versions[0][1], versions[-1][2]) == ("-infinity", "infinity")


def test_the_simulators_catalogue_loads_and_replaces_what_was_there(store: Store) -> None:
    store.load()
    changes = {it.table: it for it in load_source(store.dsn, SIMULATOR, dry_run=False).changes}
    assert changes[Pg.EPISODE_METADATA].removed == 3
    assert changes[Pg.EPISODE_METADATA].added > 500
    assert changes[Pg.THRESHOLDS].is_empty
    again = load_source(store.dsn, SIMULATOR, dry_run=False)
    assert all(it.is_empty for it in again.changes)
    assert again.warnings == []


def test_a_database_without_tables_is_said(
    admin_dsn: str, feature_db_factory: Callable[[], str], tmp_path: Path
) -> None:
    store = Store(feature_db_factory(), ReferenceFolder(tmp_path))
    store.sql("DROP SCHEMA reference CASCADE")
    with pytest.raises(ReferenceStoreError, match="run DAG ops__migrate_store, then this one again"):
        store.load()


def test_a_relative_source_is_refused(store: Store) -> None:
    with pytest.raises(InvalidFilesError, match="source 'files' is neither 'simulator' nor an absolute path"):
        load_source(store.dsn, "files", dry_run=True)


@pytest.mark.timeout(300)
def test_the_dag_loads_reports_and_refuses(airflow_stack: AirflowStack, data_dir: Path) -> None:
    api = airflow_stack.api
    folder = ReferenceFolder(data_dir / "reference")
    store = Store(airflow_stack.feature_dsn, folder)
    api.wait_for_dags({Dag.REFERENCE_LOAD}, timeout_s=60)
    api.set_paused(Dag.REFERENCE_LOAD, False)

    def run(**conf: Any) -> tuple[str, dict[str, str]]:
        run_id = api.trigger(Dag.REFERENCE_LOAD, conf)
        state = api.wait_for_run(Dag.REFERENCE_LOAD, run_id, timeout_s=120)
        return state, api.task_states(Dag.REFERENCE_LOAD, run_id)

    def loads() -> int:
        return int(api.call("GET", "/assets/events?limit=1&name_pattern=reference")["total_entries"])

    loaded = {"check_reference": "success", "load_reference": "success"}
    before = loads()
    assert run() == ("success", loaded)
    assert loads() == before + 1
    contents = store.contents()
    assert len(contents[1]) > 500

    assert run(source=str(folder.path), dry_run=True) == ("success", loaded | {"load_reference": "skipped"})
    assert loads() == before + 1, "a dry run announces nothing"
    # the small reference instead of the catalogue would close nearly all of it
    assert run(source=str(folder.path)) == (
        "failed", {"check_reference": "failed", "load_reference": "upstream_failed"},
    )  # fmt: skip
    folder.edit("titles.csv", "Gates", "")
    assert run(source=str(folder.path)) == (
        "failed", {"check_reference": "failed", "load_reference": "upstream_failed"},
    )  # fmt: skip
    assert store.contents() == contents
    told = [str(message["payload"]) for message in airflow_stack.slack.messages()]
    assert any("rows of reference.episode_metadata, more than 10%" in text for text in told)
    assert any("titles.csv line 3: name is empty: fill it in" in text for text in told)
