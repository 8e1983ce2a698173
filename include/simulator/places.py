"""Countries that readers live in, each with its own local hours."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from include.contract.countries import Country


@dataclass(frozen=True)
class Place:
    """A country, as one time zone: its most populous one where it has several."""

    country: Country
    time_zone: str
    reader_share: float
    """Part of all readers, 0 to 1."""


PLACES: Final = (
    Place("KR", "Asia/Seoul", 0.27),
    Place("JP", "Asia/Tokyo", 0.14),
    Place("US", "America/New_York", 0.17),
    Place("ID", "Asia/Jakarta", 0.10),
    Place("TH", "Asia/Bangkok", 0.07),
    Place("TW", "Asia/Taipei", 0.05),
    Place("FR", "Europe/Paris", 0.06),
    Place("DE", "Europe/Berlin", 0.04),
    Place("ES", "Europe/Madrid", 0.03),
    Place("MX", "America/Mexico_City", 0.04),
    Place("BR", "America/Sao_Paulo", 0.02),
    Place("IN", "Asia/Kolkata", 0.01),
)

ACTIVITY_BY_LOCAL_HOUR: Final = (
    0.70, 0.40, 0.22, 0.13, 0.10, 0.13, 0.28, 0.55, 0.60, 0.42, 0.38, 0.45,
    0.65, 0.52, 0.40, 0.42, 0.50, 0.58, 0.65, 0.75, 0.88, 1.00, 1.00, 0.90,
)  # fmt: skip
"""How much is read in each hour of the local day, against the busiest: commute, lunch, and late evening."""

QUARTER_MS: Final = 15 * 60_000
"""Every zone's clock changes on a quarter of an hour, so what depends on local hours is constant within one."""


@lru_cache(maxsize=4096)
def _offset_minutes(time_zone: str, quarter: int) -> int:
    at = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC)
    offset = at.astimezone(ZoneInfo(time_zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds() // 60)


def utc_offset_minutes(place: Place, time_ms: int) -> int:
    """Local time less UTC, in minutes, at `time_ms` (epoch ms)."""
    return _offset_minutes(place.time_zone, time_ms // QUARTER_MS)


def local_hour(place: Place, time_ms: int) -> int:
    """Hour of the local day, 0 to 23."""
    return (time_ms // 60_000 + utc_offset_minutes(place, time_ms)) // 60 % 24


def local_activity(place: Place, time_ms: int) -> float:
    """How much people of `place` read at `time_ms`, against their busiest hour: 0 to 1."""
    return ACTIVITY_BY_LOCAL_HOUR[local_hour(place, time_ms)]
