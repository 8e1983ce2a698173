"""The reference's files: what is read from good ones, and each fault of bad ones by a file of its own."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from include.common.freshness_slos import PUBLISHED
from include.common.names import Pg
from include.common.reference.csv_files import MAX_SHOWN, InvalidFilesError
from include.common.reference.doubtful import file_warnings
from include.common.reference.files import (
    CountryTimeZone,
    Episode,
    ThresholdValue,
    Title,
    Variant,
    read_reference,
)
from include.common.reference.store import LIMITS
from include.common.retention import LANDING_DAYS, REALTIME_DAYS, RETENTION
from include.common.thresholds import THRESHOLDS
from include.gx.history import REACH
from include.gx.suites.raw_events import RawGateLimits
from include.simulator.catalogue import write_reference
from tests.reference_folder import FILES, ReferenceFolder

THRESHOLDS_HEADER = "name,value,unit,meaning\n"


@pytest.fixture
def folder(tmp_path: Path) -> ReferenceFolder:
    return ReferenceFolder(tmp_path / "reference")


def _faults(folder: ReferenceFolder) -> str:
    with pytest.raises(InvalidFilesError) as caught:
        read_reference(folder.path)
    return str(caught.value)


def test_good_files(folder: ReferenceFolder) -> None:
    reference = read_reference(folder.path)
    assert reference.titles == [
        Title("t1", "달빛 우체국", "romance", ["slow burn", "office"]), Title("t2", "Gates", "fantasy", []),
    ]  # fmt: skip
    assert reference.episodes[0] == Episode("e1", "t1", 1, Decimal("8.25"), date(2026, 1, 5))
    assert reference.country_time_zones[0] == CountryTimeZone("KR", "Asia/Seoul")
    assert reference.experiments[-1] == Variant("badge", "c", Decimal("0.33334"))
    assert {it.name: it.value for it in reference.thresholds} == {
        name: threshold.default for name, threshold in THRESHOLDS.items()
    }
    assert not any(it.is_given for it in reference.thresholds)


def test_what_spreadsheets_do_is_let_pass(folder: ReferenceFolder) -> None:
    good = read_reference(folder.path)
    folder.write("titles.csv", b"\xef\xbb\xbf" + FILES["titles.csv"].replace("\n", "\r\n").encode())
    folder.write(
        "country_time_zones.csv",
        'note,time_zone,country\n"a, b",Asia/Seoul, KR \n\n"two\nlines",Asia/Kolkata,IN\n\n',
    )
    folder.edit("titles.csv", "slow burn;office", " slow burn; ;office;slow burn")
    assert read_reference(folder.path) == good


def test_the_simulators_own_files(tmp_path: Path) -> None:
    write_reference(tmp_path)
    reference = read_reference(tmp_path)
    assert len(reference.titles) >= 40
    assert len(reference.episodes) > 500
    assert reference.country_time_zones
    assert reference.experiments


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("titles.csv", "genre", "kind", "titles.csv line 1: no column genre: the first line must name title_id,"),
        ("titles.csv", "title_id,name", "title_id,title_id,name", "column title_id stands there twice: remove"),
        ("titles.csv", "Gates", "", "titles.csv line 3: name is empty: fill it in"),
        ("titles.csv", "fantasy", '"a\nb"', "titles.csv line 3: genre holds a control character"),
        ("titles.csv", "Gates,", 'Gates,"', "titles.csv line 3: cannot be read from here on (unexpected end of data)"),
        ("titles.csv", "t1", "t2,A,b,\nt1", "titles.csv line 4: title_id 't2' stands on line 2 already: remove one"),
        ("titles.csv", "Gates", "Gates, Lost", "titles.csv line 3: 5 values under a header of 4: quote values"),
        ("titles.csv", "Gates", "G" * 501, "titles.csv line 3: name has 501 characters: shorten it to 500"),
        ("episodes.csv", "e3", "e" * 129, "episodes.csv line 4: episode_id has 129 characters: shorten it to 128"),
        ("episodes.csv", "e2", "e1", "episodes.csv line 3: episode_id 'e1' stands on line 2 already"),
        ("episodes.csv", "e3,t2", "e3,t9", "line 4: title_id 't9' is not in titles.csv: add the title or correct"),
        ("episodes.csv", "8.25", "10.01", "episodes.csv line 2: rating 10.01 is outside 0 to 10: correct it"),
        ("episodes.csv", "8.25", "-1", "episodes.csv line 2: rating -1 is outside 0 to 10"),
        ("episodes.csv", "8.25", "NaN", "episodes.csv line 2: rating 'NaN' is no number: write it like 7.25"),
        ("episodes.csv", "8.25", '"8,25"', "rating '8,25' is no number: write it like 7.25, with a point"),
        ("episodes.csv", "t1,2,", "t1,0,", "line 3: episode_number '0' is no whole number above 0: correct it"),
        ("episodes.csv", "t1,2,", "t1,2.5,", "line 3: episode_number '2.5' is no whole number above 0"),
        ("episodes.csv", "t1,2,", "t1,9999999999,", "line 3: episode_number '9999999999' is no whole number"),
        ("episodes.csv", "2025-12-31", "2025-02-30", "line 4: launch_date '2025-02-30' is no date: write it like"),
        ("episodes.csv", "2025-12-31", "31.12.2025", "line 4: launch_date '31.12.2025' is no date"),
        ("country_time_zones.csv", "IN", "UK", "line 3: country 'UK' is no assigned ISO 3166-1 alpha-2 code"),
        ("country_time_zones.csv", "IN", "KR", "line 3: country 'KR' stands on line 2 already"),
        ("country_time_zones.csv", "Asia/Seoul", "Asia/Soul", "line 2: time_zone 'Asia/Soul' is no time zone of"),
        ("country_time_zones.csv", "Asia/Seoul", "Asia/Soul", "of the IANA database: is Asia/Seoul meant?"),
        ("country_time_zones.csv", "Asia/Seoul", "../etc/passwd", "line 2: time_zone '../etc/passwd' is no time zone"),
        ("country_time_zones.csv", "Asia/Seoul", "Asia", "line 2: time_zone 'Asia' is no time zone"),
        ("experiments.csv", "paged,0.5", "paged,0.4", "line 2: shares of experiment 'viewer' sum to 0.9, not to 1"),
        ("experiments.csv", "paged,0.5", "paged,1.5", "experiments.csv line 3: share 1.5 is outside 0 to 1"),
        ("experiments.csv", "0.33334", "0.333334", "line 6: share 0.333334 has more than 5 digits after the point"),
        ("experiments.csv", "paged", "control", "line 3: experiment 'viewer', variant 'control' stands on line 2"),
    ],
)  # fmt: skip
def test_each_fault_is_named(folder: ReferenceFolder, file: str, old: str, new: str, fault: str) -> None:
    message = _faults(folder.edit(file, old, new))
    assert message.startswith("1 fault(s), nothing was changed:\n")
    assert fault in message


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_empty_files(folder: ReferenceFolder, file: str, content: bytes) -> None:
    assert f"- {file}: is empty: export it again" in _faults(folder.write(file, content))


@pytest.mark.parametrize("file", FILES)
def test_headers_without_rows(folder: ReferenceFolder, file: str) -> None:
    folder.write(file, FILES[file].splitlines()[0] + "\n")
    if file == "experiments.csv":  # there may be none
        assert read_reference(folder.path).experiments == []
    else:
        assert f"- {file}: no row under the header: export it again" in _faults(folder)


@pytest.mark.parametrize("file", FILES)
def test_missing_files(folder: ReferenceFolder, file: str) -> None:
    message = _faults(folder.remove(file))
    assert f"- {file}: cannot be read (No such file or directory): put it into {folder.path}" in message
    assert message.startswith("1 fault(s)")


def test_bad_utf_8_is_placed(folder: ReferenceFolder) -> None:
    folder.write("titles.csv", "title_id,name,genre,tags\nt1,Straße,drama,\n".encode("latin-1"))
    message = _faults(folder)
    assert "- titles.csv line 2: byte 0xdf is not UTF-8: save the file as UTF-8" in message
    assert "is not in titles.csv" not in message, "what follows from a fault is not told again"


def test_no_folder(folder: ReferenceFolder) -> None:
    with pytest.raises(InvalidFilesError, match=r"titles\.csv is no folder that Airflow's worker can read"):
        read_reference(folder.path / "titles.csv")


def test_all_faults_of_all_files_are_told_together(folder: ReferenceFolder) -> None:
    folder.edit("titles.csv", "Gates", "").edit("episodes.csv", "8.25", "11").edit(
        "experiments.csv", "0.33334", "x"
    )
    folder.write("thresholds.csv", "name,value\n")
    told = re.findall(r"^- (\S+?):? ", _faults(folder), re.MULTILINE)
    assert told == ["titles.csv", "episodes.csv", "experiments.csv", "thresholds.csv"]


def test_of_many_faults_some_of_each_file_are_told(folder: ReferenceFolder) -> None:
    folder.write("titles.csv", "title_id,name,genre,tags\n" + "".join(f"t{n},,g,\n" for n in range(100)))
    folder.edit("episodes.csv", "8.25", "11")
    message = _faults(folder)
    assert message.startswith("101 fault(s)")
    assert message.count("\n- ") == MAX_SHOWN + 1
    assert "- episodes.csv line 2: rating 11" in message
    assert message.endswith(f"- ... and {101 - MAX_SHOWN} more")


def test_given_thresholds_replace_defaults(folder: ReferenceFolder) -> None:
    folder.write("thresholds.csv", THRESHOLDS_HEADER + "popularity_window_days,14,days,\n")
    by_name = {it.name: it for it in read_reference(folder.path).thresholds}
    assert set(by_name) == set(THRESHOLDS)
    meaning = THRESHOLDS["popularity_window_days"].meaning
    assert by_name["popularity_window_days"] == ThresholdValue(
        "popularity_window_days", 14, "days", meaning, True
    )
    assert not by_name["raw_dead_letter_share"].is_given


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("raw_dead_leter_share,0.1,share,", "is no threshold that the code reads: is raw_dead_letter_share meant?"),
        ("raw_dead_letter_share,5,share,", "line 2: value 5 is outside 0 to 1: correct it"),
        ("popularity_half_life_hours,1,days,", "unit of popularity_half_life_hours is 'days', the code counts in hours"),
        ("popularity_half_life_hours,0,hours,", "value 0 is outside 0.1 to 8760"),
        ("popularity_half_life_hours,,hours,", "value '' is no number"),
    ],
)  # fmt: skip
def test_thresholds_that_the_code_cannot_take(folder: ReferenceFolder, row: str, fault: str) -> None:
    message = _faults(folder.write("thresholds.csv", THRESHOLDS_HEADER + row + "\n"))
    assert message.startswith("1 fault(s)")
    assert fault in message


def test_every_threshold_that_is_read_has_its_default_in_the_registry(project_root: Path) -> None:
    dbt = project_root / "include" / "dbt" / "webtoon" / "models"
    read_by_dbt = {
        name
        for path in dbt.rglob("*.sql")
        for name in re.findall(r"threshold\.name = '(\w+)'", path.read_text(encoding="utf-8"))
    }
    gate = vars(RawGateLimits())
    kept = {*RETENTION.values(), LANDING_DAYS, REALTIME_DAYS} - {None}
    slos = {table.threshold for table in PUBLISHED}
    readers = read_by_dbt | set(gate) | set(LIMITS) | set(REACH) | kept | slos
    assert readers == set(THRESHOLDS), f"{Pg.THRESHOLDS} and its readers differ"
    assert gate == {name: THRESHOLDS[name].default for name in gate}


@pytest.mark.parametrize(
    ("zone", "month", "minutes"),
    [("Asia/Seoul", 7, 540), ("Asia/Kolkata", 1, 330), ("Europe/Berlin", 1, 60), ("Europe/Berlin", 7, 120),
     ("America/St_Johns", 1, -210)],
)  # fmt: skip
def test_offset_of_a_country_at_a_moment(zone: str, month: int, minutes: int) -> None:
    assert CountryTimeZone("XX", zone).utc_offset_minutes(datetime(2026, month, 1, tzinfo=UTC)) == minutes


def test_what_looks_wrong_in_valid_files_is_told(folder: ReferenceFolder) -> None:
    assert file_warnings(read_reference(folder.path)) == []
    folder.edit("episodes.csv", "e3,t2,1,6.5,2025-12-31", "e3,t1,2,6.5,2026-01-04\ne4,t1,3,5,2026-01-12")
    assert file_warnings(read_reference(folder.path)) == [
        "titles without an episode (1): t2",
        "episodes with a number that another of the title has (1): e3",
        "episodes launched before the one that they follow (1): e3",
    ]
