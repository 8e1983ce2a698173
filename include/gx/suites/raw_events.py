"""Raw gate: is a staged archive slice fit for Hive's raw_events?

What a field may hold comes from the event contract. Shares (dead letters, repeated event ids, episodes that
the reference does not know) are limits that people set in reference.thresholds.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from include.common.erasure.records import ERASED
from include.common.thresholds import default_of
from include.contract.derive import FieldConstraint, constraints
from include.contract.event import MAX_FUTURE_MS
from include.gx.history import SliceHistory
from include.gx.rules import critical, distributed_as_before, warning

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

DEAD_LETTER, REPEATED, UNKNOWN = "dead_letter_reason", "repeated_event_id", "unknown_episode_id"
GENRE = "genre"
DRIFT_COLUMNS = ("country", "device", GENRE)
_KAFKA = ("kafka_partition", "kafka_offset")
_AHEAD = "ahead_of_kafka_ms"


@dataclass(frozen=True)
class RawGateLimits:
    """What reference.thresholds says under the same names; include.common.thresholds has units and meanings."""

    raw_dead_letter_share: float = default_of("raw_dead_letter_share")
    raw_repeated_event_share: float = default_of("raw_repeated_event_share")
    raw_unknown_episode_share: float = default_of("raw_unknown_episode_share")
    raw_volume_least: float = default_of("raw_volume_least")
    raw_volume_most: float = default_of("raw_volume_most")
    raw_newest_event_minutes: float = default_of("raw_newest_event_minutes")
    drift_psi: float = default_of("drift_psi")

    @classmethod
    def of(cls, thresholds: Mapping[str, float]) -> Self:
        """Take what reference.thresholds states, the default for the rest."""
        return cls(
            **{field.name: thresholds[field.name] for field in fields(cls) if field.name in thresholds}
        )


def raw_frame(
    events: "Iterable[Path]", dead_letters: "Iterable[Path]", episodes: Mapping[str, str | None]
) -> "pd.DataFrame":
    """One row a record of the slice: contract fields for accepted events, the reason for dead letters, the offset.

    Records of erased readers broke nothing, and are left out. `episodes` is the reference: episode id -> genre. Adds the genre, and the repeated event ids and unknown episode
    ids in columns of their own, null elsewhere.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = [name for name, field in constraints().items() if field.kind != "map"]
    read = [*names, *_KAFKA, "kafka_timestamp"]
    tables = [pq.ParquetFile(path).read(read) for path in events]
    letters = [pq.ParquetFile(path).read(["reason", *_KAFKA]) for path in dead_letters]
    frame = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=read)
    if len(frame):
        sent_ms = (
            pa.concat_tables(tables)["kafka_timestamp"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
        )
        frame[_AHEAD] = frame["timestamp"] - sent_ms.to_numpy()
    else:
        frame[_AHEAD] = pd.Series(dtype="float64")
    frame = frame.drop(columns="kafka_timestamp")
    # of events with one id in one session the first counts; the others are repeats
    frame[REPEATED] = frame["event_id"].where(frame.duplicated(["session_id", "event_id"]), None)
    frame[UNKNOWN] = frame["episode_id"].where(~frame["episode_id"].isin(episodes.keys()), None)
    frame[GENRE] = frame["episode_id"].map(dict(episodes)).astype(object)
    frame[DEAD_LETTER] = None
    if letters:
        every = pa.concat_tables(letters)
        every = every.filter(pc.not_equal(every["reason"], ERASED))
        refused = every.rename_columns([DEAD_LETTER, *_KAFKA]).to_pandas()
        frame = pd.concat([frame, refused], ignore_index=True)
    return frame.astype({REPEATED: object, UNKNOWN: object, DEAD_LETTER: object})


def build_suite(limits: RawGateLimits, history: SliceHistory) -> Any:
    """ExpectationSuite for a `raw_frame`. What a row must be is critical; comparisons with `history` are warnings."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    def share(rule: str, column: str, limit: float) -> Any:
        return gxe.ExpectColumnValuesToBeNull(column=column, mostly=1 - limit, **critical(rule))

    expectations = [
        share("dead_letter_share", DEAD_LETTER, limits.raw_dead_letter_share),
        share("repeated_event_share", REPEATED, limits.raw_repeated_event_share),
        share("unknown_episode_share", UNKNOWN, limits.raw_unknown_episode_share),
        gxe.ExpectColumnValuesToBeBetween(
            column=_AHEAD, max_value=MAX_FUTURE_MS, **critical("not_from_the_future")
        ),
    ]
    for field in constraints().values():
        if field.kind != "map":
            expectations += _of_field(field)
    expectations += _against_history(limits, history)
    return gx.ExpectationSuite(name="raw_events", expectations=expectations)


def _against_history(limits: RawGateLimits, history: SliceHistory) -> list[Any]:
    """Volume, freshness, distributions."""
    import great_expectations.expectations as gxe

    expected, unknown = history.expected_records(), history.volume_not_checked()
    oldest_ms = history.recorded_at_ms - round(limits.raw_newest_event_minutes * 60_000)
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=math.floor(expected * limits.raw_volume_least),
            max_value=math.ceil(expected * limits.raw_volume_most) if unknown is None else None,
            **warning("volume_as_in_this_hour_of_earlier_days", unknown),
        ),
        gxe.ExpectColumnMaxToBeBetween(
            column="timestamp", min_value=oldest_ms, **warning("newest_event_is_fresh")
        ),
        *(
            distributed_as_before(
                column, history.counts.get(column, {}), limits.drift_psi, history.drift_not_checked()
            )
            for column in DRIFT_COLUMNS
        ),
    ]


def _of_field(field: FieldConstraint) -> list[Any]:
    """What the contract says of one field, as expectations on the accepted events."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    name = field.name
    found: list[Any] = []
    if field.required:
        accepted = Column(DEAD_LETTER).is_null()
        found.append(
            gxe.ExpectColumnValuesToNotBeNull(
                column=name, row_condition=accepted, **critical(f"{name}_present")
            )
        )
    if field.required_on is not None:
        on = Column("event_type") == field.required_on
        found.append(
            gxe.ExpectColumnValuesToNotBeNull(
                column=name, row_condition=on, **critical(f"{name}_present_on_{field.required_on}")
            )
        )
    if field.allowed_values is not None:
        found.append(
            gxe.ExpectColumnValuesToBeInSet(
                column=name, value_set=list(field.allowed_values), **critical(f"{name}_allowed")
            )
        )
    if field.minimum is not None or field.maximum is not None:
        found.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=name, min_value=field.minimum, max_value=field.maximum, **critical(f"{name}_in_range")
            )
        )
    if field.min_length is not None or field.max_length is not None:
        found.append(
            gxe.ExpectColumnValueLengthsToBeBetween(
                column=name, min_value=field.min_length, max_value=field.max_length,
                **critical(f"{name}_length"),
            )
        )  # fmt: skip
    if field.forbidden_pattern is not None:
        found.append(
            gxe.ExpectColumnValuesToNotMatchRegex(
                column=name, regex=field.forbidden_pattern, **critical(f"{name}_text")
            )
        )
    return found
