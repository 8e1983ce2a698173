"""The executable vectors of the semantics (DESIGN section 4): hand-computed events -> expected rows.

`load_vectors()` reads every `*.yaml` of this folder. The engine, the stream and the SQL recomputation run
the same records and are held to the same rows.

Times are written "HH:MM:SS[.mmm]" or "Nd HH:MM:SS[.mmm]" after `BASE_MS`. What a record leaves out: session
(the vector's name), user ("u-" and the name), episode (e1), country KR, device phone, platform ios; it
arrives (Kafka time) at the newest event time so far. A record's offset is its position in the list, after
`until` / `step` are written out.

Flush: a vector's sessions become final when `flush_records` follow its records: one marker event in each
bucket that the vector uses, far ahead. Markers' sessions stay open; leave out rows of `FLUSH_PREFIX`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from include.contract.bucket import bucket_of
from include.contract.sessions import Reading

BASE_MS = 1_709_251_200_000
"""2024-03-01T00:00:00Z."""
FLUSH_PREFIX = "flush-"
FLUSH_AT_MS = BASE_MS + 30 * 86_400_000
BUCKETS_PER_PARTITION = 8
"""What the vectors about clocks of buckets count on (the stream's default)."""

_TIME = re.compile(r"(?:(\d+)d )?(\d\d):(\d\d):(\d\d)(?:\.(\d{3}))?")
_FIELDS = {
    "id": "event_id",
    "user": "user_id",
    "session": "session_id",
    "episode": "episode_id",
    "type": "event_type",
    "ratio": "scroll_ratio",
}
_SAME_NAME = ("country", "device", "platform", "experiments", "ui_version", "utc_offset_minutes")


class VectorRecord(NamedTuple):
    """A Kafka record as a producer would send it."""

    partition: int
    offset: int
    kafka_ms: int
    key: bytes | None
    value: bytes | None


class UserRow(NamedTuple):
    """Expected row of realtime.user_features after the flush; times in epoch ms."""

    user_id: str
    readings_active: int
    readings_closed: int
    readings_completed: int
    readings_exited: int
    completion_ppm_sum: int
    scroll_event_sum: int
    dwell_time_ms_sum: int
    last_read_at_ms: int
    last_episode_id: str
    last_event_kafka_ms: int


class EpisodeRow(NamedTuple):
    """Expected row of realtime.episode_features after the flush; times in epoch ms."""

    episode_id: str
    readings_active: int
    readings_closed: int
    readings_completed: int
    readings_exited: int
    readings_with_scroll: int
    completion_ppm_sum: int
    scroll_ppm_sum: int
    scroll_event_sum: int
    dwell_time_ms_sum: int
    last_read_at_ms: int
    last_event_kafka_ms: int


class Snapshot(NamedTuple):
    """Rows of the store once records up to offset `after` and then a tick at `wall_ms` were applied."""

    after: int
    wall_ms: int | None
    rows: list[Reading]


@dataclass(frozen=True)
class Vector:
    """One settled question. `rows` are the final rows after the flush, in no order."""

    name: str
    settles: str
    file: str
    version: int
    partition: int
    records: list[VectorRecord]
    rows: list[Reading]
    late: list[int]
    duplicates: list[int]
    dead_letters: dict[int, str]
    snapshots: list[Snapshot]
    users: list[UserRow]
    episodes: list[EpisodeRow]

    def __str__(self) -> str:
        return self.name


def load_vectors(*, own_partitions: bool = False) -> list[Vector]:
    """Return all vectors, in order of file and position.

    Records are in partition 0, or with `own_partitions` in a partition for each vector (its index), so that one
    topic can hold them all: their clocks don't meet, and no two vectors share a session_id.
    """
    vectors: list[Vector] = []
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for raw in document["vectors"]:
            partition = len(vectors) if own_partitions else 0
            vectors.append(_vector(raw, path.name, document["version"], partition))
    if not vectors:
        raise AssertionError("no vectors found")
    return vectors


def flush_records(vector: Vector, buckets_per_partition: int = BUCKETS_PER_PARTITION) -> list[VectorRecord]:
    """Return the markers that follow a vector's records: after them every session of the vector is final."""
    buckets = {
        bucket_of(record.key.decode(), vector.partition, buckets_per_partition)
        for record in vector.records
        if record.key is not None
    }
    kafka_ms = max([FLUSH_AT_MS, *(record.kafka_ms for record in vector.records)])
    markers: list[VectorRecord] = []
    candidate = 0
    while buckets:
        session_id = f"{FLUSH_PREFIX}{vector.name}-{candidate}"
        candidate += 1
        bucket = bucket_of(session_id, vector.partition, buckets_per_partition)
        if bucket not in buckets:
            continue
        buckets.remove(bucket)
        value = {
            "event_id": "flush",
            "user_id": session_id,
            "session_id": session_id,
            "episode_id": f"{FLUSH_PREFIX}{vector.name}",
            "event_type": "enter",
            "country": "KR",
            "device": "phone",
            "platform": "ios",
            "timestamp": FLUSH_AT_MS,
        }
        offset = len(vector.records) + len(markers)
        raw = json.dumps(value).encode()
        markers.append(VectorRecord(vector.partition, offset, kafka_ms, session_id.encode(), raw))
    return markers


def _vector(raw: dict[str, Any], file: str, version: int, partition: int) -> Vector:
    known = {
        "name", "settles", "records", "rows", "late", "duplicates", "dead_letters", "snapshots", "users", "episodes",
    }  # fmt: skip
    if unknown := raw.keys() - known:
        raise ValueError(f"{file}: {raw.get('name')}: unknown keys {sorted(unknown)}")
    name = raw["name"]
    return Vector(
        name=name,
        settles=raw["settles"],
        file=file,
        version=version,
        partition=partition,
        records=list(_records(raw["records"], name, partition)),
        rows=[_row(row, name, partition, is_final=True) for row in raw["rows"]],
        late=raw.get("late", []),
        duplicates=raw.get("duplicates", []),
        dead_letters=raw.get("dead_letters", {}),
        snapshots=[
            Snapshot(
                it["after"],
                _ms(it["wall"]) if "wall" in it else None,
                [_row(row, name, partition, is_final=False) for row in it["rows"]],
            )
            for it in raw.get("snapshots", [])
        ],
        users=[_user(row) for row in raw.get("users", [])],
        episodes=[_episode(row) for row in raw.get("episodes", [])],
    )


def _records(items: list[dict[str, Any]], name: str, partition: int) -> Iterator[VectorRecord]:
    newest_ms = BASE_MS
    offset = 0
    for item in items:
        for written in _written_out(item):
            if "at_ms" in written:
                newest_ms = max(newest_ms, written["at_ms"])
            kafka_ms = _ms(written["arrives"]) if "arrives" in written else newest_ms
            yield VectorRecord(partition, offset, kafka_ms, _key(written, name), _value(written, name))
            offset += 1


def _written_out(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A record with `until` and `step` stands for several; {n} in its id counts them from 0."""
    if "until" not in item:
        yield {**item, "at_ms": _ms(item["at"])} if "at" in item else item
        return
    at_ms, step_ms, count = _ms(item["at"]), _ms(item["step"]) - BASE_MS, 0
    while at_ms <= _ms(item["until"]):
        rest = {key: value for key, value in item.items() if key not in {"until", "step"}}
        yield {**rest, "id": item["id"].format(n=count), "at_ms": at_ms}
        at_ms, count = at_ms + step_ms, count + 1


def _key(item: dict[str, Any], name: str) -> bytes | None:
    key = item.get("key", item.get("session", name))
    return None if key is None else str(key).encode()


def _value(item: dict[str, Any], name: str) -> bytes | None:
    if "value" in item:
        return None if item["value"] is None else item["value"].encode()
    event: dict[str, Any] = {
        "user_id": f"u-{name}",
        "session_id": name,
        "episode_id": "e1",
        "country": "KR",
        "device": "phone",
        "platform": "ios",
        "timestamp": item["at_ms"],
    }
    event |= {_FIELDS[key]: _text(value) for key, value in item.items() if key in _FIELDS}
    event |= {key: value for key, value in item.items() if key in _SAME_NAME}
    event |= item.get("fields", {})
    for left_out in item.get("omit", []):
        del event[left_out]
    return json.dumps(event, ensure_ascii=False).encode()


def _text(value: Any) -> Any:
    """{text: x, times: n} is x written n times."""
    return value["text"] * value["times"] if isinstance(value, dict) else value


def _row(row: dict[str, Any], name: str, partition: int, *, is_final: bool) -> Reading:
    return Reading(
        session_id=row.get("session", name),
        session_start_ms=_ms(row["start"]),
        episode_id=row.get("episode", "e1"),
        user_id=_text(row.get("user", f"u-{name}")),
        country=row.get("country", "KR"),
        device=row.get("device", "phone"),
        platform=row.get("platform", "ios"),
        experiments=row.get("experiments"),
        ui_version=row.get("ui_version"),
        status=row["status"],
        is_exit_tag=row["exit"],
        completion_rate=row["completion"],
        max_scroll_ratio=row["max_ratio"],
        event_count=row["events"],
        scroll_event_count=row["scrolls"],
        dwell_time_ms=_ms(row["dwell"]) - BASE_MS,
        started_at_ms=_ms(row["started"]),
        ended_at_ms=_ms(row["ended"]),
        is_final=is_final,
        source_partition=partition,
        last_offset=row["last_offset"],
        last_event_kafka_ms=_ms(row["last_arrival"]),
    )


def _user(row: dict[str, Any]) -> UserRow:
    return UserRow(
        row["user"], row["active"], row["closed"], row["completed"], row["exited"], row["completion_ppm"],
        row["scrolls"], _ms(row["dwell"]) - BASE_MS, _ms(row["last_read"]), row["last_episode"],
        _ms(row["last_arrival"]),
    )  # fmt: skip


def _episode(row: dict[str, Any]) -> EpisodeRow:
    return EpisodeRow(
        row["episode"], row["active"], row["closed"], row["completed"], row["exited"], row["with_scroll"],
        row["completion_ppm"], row["scroll_ppm"], row["scrolls"], _ms(row["dwell"]) - BASE_MS,
        _ms(row["last_read"]), _ms(row["last_arrival"]),
    )  # fmt: skip


def _ms(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text!r}; write HH:MM:SS[.mmm] or Nd HH:MM:SS[.mmm]")
    days, hours, minutes, seconds, millis = (int(part or 0) for part in match.groups())
    return BASE_MS + (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + millis
