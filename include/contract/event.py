"""The event contract: one typed definition that decodes and validates in one pass.

Everything else that knows an event's shape (Spark and Arrow schema, JSON Schema, Great Expectations
suite, simulator) is derived from `ReadingEvent` by `include.contract.derive`.
"""

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from include.contract.countries import Country

MAX_TEXT_CODE_POINTS: Final = 128
MAX_EVENT_BYTES: Final = 1_048_576
MAX_FUTURE_MS: Final = 5 * 60_000
"""An event may claim a time this far ahead of its Kafka record, no further."""
MAX_TIMESTAMP_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z: the last instant that PostgreSQL, Spark and Python all can hold."""

CONTROL_PATTERN: Final = r"[\u0000-\u001f\u007f-\u009f]"
"""A character of Unicode category Cc, as a regular expression that Python, Java and ECMAScript share."""

_CONTROL = re.compile(CONTROL_PATTERN)
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]"
)

Text = Annotated[
    str,
    # The pattern stands in schemas only: msgspec would search it in every string, which takes four times as
    # long as `_check_text`, which holds decoded events to it.
    Meta(
        min_length=1,
        max_length=MAX_TEXT_CODE_POINTS,
        extra_json_schema={"not": {"pattern": CONTROL_PATTERN}},
        extra={"forbidden_pattern": CONTROL_PATTERN},
    ),
]
"""1-128 code points, none of Unicode category Cc."""
Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]


class EventType(StrEnum):
    """What the reader did."""

    ENTER = "enter"
    SCROLL = "scroll"
    COMPLETE = "complete"
    EXIT = "exit"


class Device(StrEnum):
    """Class of the reader's device."""

    PHONE = "phone"
    TABLET = "tablet"
    DESKTOP = "desktop"


class Platform(StrEnum):
    """Client that sent the event."""

    IOS = "ios"
    ANDROID = "android"
    WEB = "web"


class ReadingEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One reading event. Unknown fields are ignored here and kept, raw, in the archive."""

    event_id: Text
    user_id: Text
    session_id: Text
    episode_id: Text
    event_type: EventType
    country: Country
    device: Device
    platform: Platform
    timestamp: Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]
    """Epoch milliseconds, UTC, by the client's clock."""
    scroll_ratio: Ratio | None = None
    """How far down the episode the reader has scrolled; required on scroll."""
    experiments: Annotated[dict[Text, Text], Meta(max_length=32)] | None = None
    """Experiment -> group the reader was assigned to."""
    ui_version: Text | None = None
    utc_offset_minutes: Annotated[int, Meta(ge=-14 * 60, le=14 * 60)] | None = None


REQUIRED_ON: Final = {"scroll_ratio": EventType.SCROLL}
"""Optional fields that one event type requires."""


class DeadLetterReason(StrEnum):
    """Why a record is a dead letter."""

    NULL_KEY = "null_key"
    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    OUT_OF_RANGE = "out_of_range"
    BAD_TEXT = "bad_text"
    KEY_MISMATCH = "key_mismatch"
    FUTURE_TIMESTAMP = "future_timestamp"


class ContractError(ValueError):
    """A record breaks the contract. `reason` is for counting, `detail` for a person; neither quotes the value."""

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_decoder = msgspec.json.Decoder(ReadingEvent)
_encoder = msgspec.json.Encoder()


def encode(event: ReadingEvent) -> bytes:
    """Return the event as the JSON bytes a producer sends; absent optional fields are left out."""
    fields = msgspec.structs.asdict(event)
    return _encoder.encode({name: value for name, value in fields.items() if value is not None})


def decode(raw: bytes) -> ReadingEvent:
    """Decode and validate the value of a record.

    Raises ContractError; never another exception, whatever the bytes are.
    """
    if len(raw) > MAX_EVENT_BYTES:
        raise ContractError(DeadLetterReason.TOO_LARGE, f"{len(raw)} bytes; at most {MAX_EVENT_BYTES}")
    try:
        event = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise ContractError(_reason_of(str(error)), _without_values(str(error))) from None
    except msgspec.DecodeError as error:
        raise ContractError(_reason_undecodable(raw), str(error)) from None
    except UnicodeDecodeError as error:
        raise ContractError(DeadLetterReason.BAD_TEXT, f"not UTF-8: {error.reason}") from None
    except RecursionError:
        raise ContractError(DeadLetterReason.NOT_JSON, "nested too deeply") from None
    if event.scroll_ratio is None and event.event_type is REQUIRED_ON["scroll_ratio"]:
        raise ContractError(DeadLetterReason.MISSING_FIELD, "scroll_ratio is required on scroll")
    if raw.isascii():
        # of the control characters only DEL stands in JSON text as itself; the others need an escape
        if b"\\" in raw or b"\x7f" in raw:
            _check_text(event)
    else:
        _check_text(event)
        _check_utf8(raw)
    return event


def accept_record(key: bytes | None, value: bytes | None, kafka_timestamp_ms: int) -> ReadingEvent:
    """Return the event of a Kafka record, or raise ContractError if the record is a dead letter.

    `kafka_timestamp_ms` is the record's own timestamp; an event more than 5 min ahead of it is refused.
    """
    if not value:
        raise ContractError(DeadLetterReason.EMPTY_VALUE, "the record has no value")
    if key is None:
        raise ContractError(DeadLetterReason.NULL_KEY, "the record has no key; key = session_id")
    event = decode(value)
    if key != event.session_id.encode():
        raise ContractError(DeadLetterReason.KEY_MISMATCH, "the key is not the event's session_id")
    if event.timestamp - kafka_timestamp_ms > MAX_FUTURE_MS:
        ahead_s = (event.timestamp - kafka_timestamp_ms) // 1000
        raise ContractError(DeadLetterReason.FUTURE_TIMESTAMP, f"{ahead_s} s ahead of its Kafka record")
    return event


def _check_utf8(raw: bytes) -> None:
    """Fields that the contract does not know are skipped undecoded, but the archive keeps them as text."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise ContractError(DeadLetterReason.BAD_TEXT, f"not UTF-8: {error.reason}") from None


def _check_text(event: ReadingEvent) -> None:
    # isprintable() is one C call and true for nearly every real id; the regular expression decides the rest.
    if not (
        event.event_id.isprintable()
        and event.user_id.isprintable()
        and event.session_id.isprintable()
        and event.episode_id.isprintable()
    ):
        for name in ("event_id", "user_id", "session_id", "episode_id"):
            if _CONTROL.search(getattr(event, name)):
                raise ContractError(DeadLetterReason.BAD_TEXT, f"{name} holds a control character")
    if event.ui_version is not None and _CONTROL.search(event.ui_version):
        raise ContractError(DeadLetterReason.BAD_TEXT, "ui_version holds a control character")
    for name, group in (event.experiments or {}).items():
        if _CONTROL.search(name) or _CONTROL.search(group):
            raise ContractError(DeadLetterReason.BAD_TEXT, "experiments holds a control character")


def _reason_undecodable(raw: bytes) -> DeadLetterReason:
    """JSON's grammar allows half a surrogate pair, but no text can hold it."""
    return DeadLetterReason.BAD_TEXT if _HALF_PAIR.search(raw) else DeadLetterReason.NOT_JSON


def _reason_of(message: str) -> DeadLetterReason:
    """Map msgspec's message to a reason; its wording is pinned by tests/unit/contract."""
    if "missing required field" in message:
        return DeadLetterReason.MISSING_FIELD
    if "of length" in message:
        return DeadLetterReason.BAD_TEXT if "`str`" in message else DeadLetterReason.OUT_OF_RANGE
    if "out of range" in message or "<=" in message or ">=" in message or "Invalid enum value" in message:
        return DeadLetterReason.OUT_OF_RANGE
    return DeadLetterReason.WRONG_TYPE


def _without_values(message: str) -> str:
    """Drop the offending value, which may be personal: `Invalid enum value 'x' - at $.y` keeps `- at $.y`."""
    return re.sub(r"enum value .*(?= - at )", "enum value", message, flags=re.DOTALL)
