"""The reference as files: titles, episodes, countries' time zones, experiments, thresholds; all checked at once.

A folder holds titles.csv (title_id, name, genre, tags), episodes.csv (episode_id, title_id, episode_number, rating,
launch_date), country_time_zones.csv (country, time_zone), experiments.csv (experiment, variant, share) and, where
somebody changes thresholds, thresholds.csv (name, value, unit, meaning). Tags are separated by `;`.
"""

import functools
import zoneinfo
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar

from include.common.reference.csv_files import Faults, InvalidFilesError, Row, check_unique, read_rows
from include.common.thresholds import THRESHOLDS
from include.contract.countries import COUNTRY_CODES

LONGEST_TEXT: Final = 500
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Title:
    """A series; `tags` in the file's order, each once."""

    title_id: str
    name: str
    genre: str
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode; rating 0 to 10, kept to two digits after the point."""

    episode_id: str
    title_id: str
    episode_number: int
    rating: Decimal
    launch_date: date


@dataclass(frozen=True, slots=True)
class CountryTimeZone:
    """A country's time zone by its IANA name."""

    country: str
    time_zone: str

    def utc_offset_minutes(self, now: datetime) -> int:
        """Minutes that the country's clocks are ahead of UTC at `now` (aware)."""
        offset = now.astimezone(zoneinfo.ZoneInfo(self.time_zone)).utcoffset()
        if offset is None:
            raise ValueError(f"{self.time_zone} has no offset")
        return round(offset.total_seconds() / 60)


@dataclass(frozen=True, slots=True)
class Variant:
    """One group of an experiment; the shares of an experiment sum to 1."""

    experiment: str
    variant: str
    share: Decimal


@dataclass(frozen=True, slots=True)
class ThresholdValue:
    """A setting; `is_given` where a file states it, false for a default."""

    name: str
    value: float
    unit: str
    meaning: str
    is_given: bool


@dataclass(frozen=True)
class Reference:
    """Everything, valid as a whole. `thresholds` has every name of the code."""

    titles: list[Title]
    episodes: list[Episode]
    country_time_zones: list[CountryTimeZone]
    experiments: list[Variant]
    thresholds: list[ThresholdValue]


def read_reference(folder: Path) -> Reference:
    """Read and check the files of `folder`. Raises InvalidFilesError with all that is wrong in any of them."""
    if not folder.is_dir():
        raise InvalidFilesError(
            f"{folder} is no folder that Airflow's worker can read: give an absolute path on the worker's machine"
        )
    faults = Faults()
    titles, title_rows = _read(folder / "titles.csv", ("title_id", "name", "genre", "tags"), _title, faults)
    check_unique(title_rows, "title_id")
    columns = ("episode_id", "title_id", "episode_number", "rating", "launch_date")
    episodes, episode_rows = _read(folder / "episodes.csv", columns, _episode, faults)
    check_unique(episode_rows, "episode_id")
    if "titles.csv" not in faults.incomplete:
        _check_titles(episode_rows, title_rows)
    countries, country_rows = _read(
        folder / "country_time_zones.csv", ("country", "time_zone"), _country_time_zone, faults
    )
    check_unique(country_rows, "country")
    variants, variant_rows = _read(
        folder / "experiments.csv", ("experiment", "variant", "share"), _variant, faults, may_be_empty=True
    )
    check_unique(variant_rows, "experiment", "variant")
    _check_shares(variants, variant_rows)
    thresholds = _read_thresholds(folder / "thresholds.csv", faults)
    faults.raise_if_any()
    return Reference(titles, episodes, countries, variants, thresholds)


def _read(
    path: Path,
    columns: tuple[str, ...],
    parse: Callable[[Row], _Parsed],
    faults: Faults,
    *,
    may_be_empty: bool = False,
) -> tuple[list[_Parsed], list[Row]]:
    rows = read_rows(path, columns, faults, may_be_empty=may_be_empty)
    return [parse(row) for row in rows], rows


def _title(row: Row) -> Title:
    tags = (tag.strip() for tag in row.text("tags", longest=LONGEST_TEXT, optional=True).split(";"))
    return Title(
        row.identifier("title_id"),
        row.text("name", longest=LONGEST_TEXT),
        row.text("genre", longest=LONGEST_TEXT),
        list(dict.fromkeys(tag for tag in tags if tag)),
    )


def _episode(row: Row) -> Episode:
    return Episode(
        row.identifier("episode_id"),
        row.identifier("title_id"),
        row.positive_integer("episode_number"),
        row.decimal("rating", 0, 10),
        row.calendar_date("launch_date"),
    )


def _country_time_zone(row: Row) -> CountryTimeZone:
    return CountryTimeZone(
        row.one_of("country", COUNTRY_CODES, "no assigned ISO 3166-1 alpha-2 code"),
        row.one_of("time_zone", _time_zones(), "no time zone of the IANA database"),
    )


def _variant(row: Row) -> Variant:
    return Variant(
        row.identifier("experiment"), row.identifier("variant"), row.decimal("share", 0, 1, places=5)
    )


def _threshold(row: Row) -> ThresholdValue:
    name = row.one_of("name", THRESHOLDS, "no threshold that the code reads")
    unit, meaning = row.text("unit"), row.text("meaning", longest=LONGEST_TEXT, optional=True)
    known = THRESHOLDS.get(name)
    if known is None:
        return ThresholdValue(name, 0, unit, meaning, is_given=True)
    if unit and unit != known.unit:
        row.fault(f"unit of {name} is {unit!r}, the code counts in {known.unit}: convert the value")
    value = row.decimal("value", known.minimum, known.maximum)
    return ThresholdValue(name, float(value), unit, meaning or known.meaning, is_given=True)


def _read_thresholds(path: Path, faults: Faults) -> list[ThresholdValue]:
    """Values of the file where there is one, the defaults of the other names."""
    given: list[ThresholdValue] = []
    if path.exists():
        columns = ("name", "value", "unit", "meaning")
        given, rows = _read(path, columns, _threshold, faults, may_be_empty=True)
        check_unique(rows, "name")
    names = {threshold.name for threshold in given}
    return given + [
        ThresholdValue(it.name, it.default, it.unit, it.meaning, is_given=False)
        for it in THRESHOLDS.values()
        if it.name not in names
    ]


def _check_titles(episodes: Iterable[Row], titles: Iterable[Row]) -> None:
    known = {row.values["title_id"] for row in titles}
    for row in episodes:
        title_id = row.values["title_id"]
        if title_id and title_id not in known:
            row.fault(f"title_id {title_id!r} is not in titles.csv: add the title or correct the id")


def _check_shares(variants: list[Variant], rows: list[Row]) -> None:
    """Shares of each experiment whose rows are all valid sum to 1, exactly."""
    sums: dict[str, Decimal] = {}
    first: dict[str, Row] = {}
    invalid = {row.values["experiment"] for row in rows if not row.is_valid}
    for variant, row in zip(variants, rows, strict=True):
        sums[variant.experiment] = sums.get(variant.experiment, Decimal(0)) + variant.share
        first.setdefault(variant.experiment, row)
    for experiment, total in sums.items():
        if total != 1 and experiment not in invalid:
            first[experiment].fault(
                f"shares of experiment {experiment!r} sum to {total}, not to 1: correct them (0.33333 twice and "
                f"0.33334 for thirds)"
            )


@functools.cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
