"""The trigger form of stream__roll_out, and what it asks for. The one place where a rule of the stream is
changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow.sdk import Param

from include.contract.rules import SessionRules

ROLL_OUT, ROLL_BACK = "roll_out", "roll_back"
EARLIEST, TIMESTAMP, OFFSETS = "earliest", "timestamp", "offsets"
RULES: Final = {
    "gap_s": ("gap_ms", 1, "Gap, seconds", "A longer silence ends a session"),
    "max_length_s": ("max_length_ms", 1, "Maximum length, seconds", "A later event begins a new session"),
    "lateness_s": (
        "lateness_ms",
        0,
        "Allowed lateness, seconds",
        "An event further behind the clock is late",
    ),
    "dwell_cap_s": ("dwell_cap_ms", 1, "Dwell cap, seconds", "The most that one pause adds to dwell time"),
}
"""Field -> setting of a generation (in ms), least value, title, description."""
LAYOUT: Final = {
    "buckets_per_partition": "Hash buckets in each Kafka partition; lateness is measured in each of them",
    "state_partitions": "Spark tasks that share the buckets: about one a core",
}
_ACTION, _START, _RULES, _LAYOUT = (
    "What",
    "Where a new generation begins to read",
    "Rules: empty is as they are",
    "Layout: empty is as it is",
)
PARAMS: Final = {
    "action": Param(
        ROLL_OUT, type="string", enum=[ROLL_OUT, ROLL_BACK], section=_ACTION, title="Action",
        description="roll_out: begin a new generation. roll_back: put the one before the current one in its place "
        "again. Either shows the difference and asks before it swaps",
    ),
    "start": Param(
        EARLIEST, type="string", enum=[EARLIEST, TIMESTAMP, OFFSETS], section=_START, title="Start",
        description="earliest: all that Kafka holds. Readings of sessions that began before what can be computed anew "
        "are copied from the current generation",
    ),
    "from_timestamp": Param(
        None, type=["null", "string"], format="date-time", section=_START, title="Timestamp",
        description="For timestamp: readings of sessions that begin from then on are computed anew; reading starts "
        "earlier by maximum length, gap and lateness",
    ),
    "from_offsets": Param(
        None, type=["null", "object"], section=_START, title="Offsets",
        description='For offsets: where reading starts, by partition: {"0": 1200, "1": 900}',
    ),
    **{
        name: Param(
            None, type=["null", "integer"], minimum=least, maximum=366 * 24 * 3600, section=_RULES, title=title,
            description=words,
        )
        for name, (_, least, title, words) in RULES.items()
    },
    **{
        name: Param(
            None, type=["null", "integer"], minimum=1, maximum=1000, section=_LAYOUT,
            title=name.replace("_", " ").capitalize(), description=words,
        )
        for name, words in LAYOUT.items()
    },
}  # fmt: skip
"""The trigger form."""


class FormError(ValueError):
    """The form asks for something that cannot be; the message says which field and the mend."""


@dataclass(frozen=True)
class Wish:
    """What the form asks for. `settings`: names of a generation's SETTINGS, only those that were given."""

    action: str
    start: str
    timestamp_ms: int | None
    offsets: dict[str, int] | None
    settings: dict[str, int]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Wish":
        """The wish of a run; raises FormError."""
        settings = {
            setting: params[name] * 1000
            for name, (setting, *_) in RULES.items()
            if params.get(name) is not None
        }
        settings |= {name: params[name] for name in LAYOUT if params.get(name) is not None}
        start, timestamp, offsets = params["start"], params.get("from_timestamp"), params.get("from_offsets")
        for name, value, needed in (
            ("from_timestamp", timestamp, TIMESTAMP),
            ("from_offsets", offsets, OFFSETS),
        ):
            if (value is not None) != (start == needed):
                raise FormError(
                    f"{name} is {'missing' if value is None else 'given'}, and start is {start}: "
                    f"start={needed} and {name} go together"
                )
        if params["action"] == ROLL_BACK and (settings or start != EARLIEST):
            raise FormError(
                "a roll-back takes the generation before the current one as it is: leave start, rules and layout alone"
            )
        try:
            SessionRules(**{name: value for name, value in settings.items() if name.endswith("_ms")})
        except ValueError as error:
            raise FormError(str(error)) from error
        return cls(params["action"], start, _epoch_ms(timestamp), _offsets(offsets), settings)


def _epoch_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise FormError(f"from_timestamp: {error}; write it like 2026-11-26T04:00:00Z") from error
    if at.tzinfo is None:
        raise FormError(f"from_timestamp {text} has no time zone; write it like 2026-11-26T04:00:00Z")
    return round(at.timestamp() * 1000)


def _offsets(given: Mapping[str, Any] | None) -> dict[str, int] | None:
    if given is None:
        return None
    for partition, offset in given.items():
        if not partition.isdecimal() or not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
            raise FormError(
                f'from_offsets: {partition!r}: {offset!r} is no partition and offset; write {{"0": 1200, "1": 900}}'
            )
    return {partition: int(offset) for partition, offset in given.items()}
