"""A bucket's state as a log, and the Python worker's cache of it.

Truth is in Spark's state store: a head (version and clocks) and a map version -> entry. An entry holds
the sessions that one call touched; every `COMPACT_EVERY` versions (spread over buckets) a base entry
holds all of them and the older ones are removed. So a micro-batch writes what it touched, not what is
open. The cache is used only where its version equals the stored one: an older one replays what is
missing, a newer one (a repeated micro-batch) or none is rebuilt.

This module must stay importable by path: what is pickled with the query starts empty in every task.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from include.common.packed import pack, unpack
from include.contract.bucket import BucketChanges, BucketState
from include.contract.encoded_session import Readers, StateVersionError
from include.contract.rules import SessionRules

LAYOUT_VERSION: Final = 4
"""Of all that a checkpoint fixes here: the two state variables, the keys of buckets (2: `placement`), Spark's stateful
operator, whose name is in the checkpoint (3: rows instead of pandas frames), and how entries are packed (4: LZ4)."""
COMPACT_EVERY: Final = 64
"""A bucket writes a base after this many versions."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, bytes | None])


def encode_entry(touched: Mapping[str, bytes | None]) -> bytes:
    """An entry: session_id -> its encoded state, None where it left the state."""
    return pack(_encoder.encode(touched))


def decode_entry(entry: bytes) -> dict[str, bytes | None]:
    """Inverse of `encode_entry`."""
    return _decoder.decode(unpack(entry))


@dataclass(frozen=True, slots=True)
class Head:
    """What a bucket's log stands at. `base` is the version of the newest entry that holds everything."""

    layout: int
    version: int
    base: int
    clock_ms: int
    wall_ms: int


class LogStore(Protocol):
    """Where the log is kept; Spark's ValueState and MapState in the stream, a dict in tests."""

    def head(self) -> Head | None:
        """The stored head, None for a new bucket."""

    def put_head(self, head: Head) -> None:
        """Replace the head."""

    def entry(self, version: int) -> bytes:
        """The entry written at `version`."""

    def put_entry(self, version: int, entry: bytes) -> None:
        """Write an entry."""

    def remove_entry(self, version: int) -> None:
        """Drop an entry that a base has replaced."""


class BucketCache:
    """Buckets by (lineage, bucket) in this process, the longest unused one dropped above `capacity`."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._buckets: OrderedDict[tuple[str, int], tuple[Head, BucketState]] = OrderedDict()

    def take(self, lineage: str, bucket_id: int) -> tuple[Head, BucketState] | None:
        """Hand out a bucket and forget it, so that one half changed is never found again."""
        return self._buckets.pop((lineage, bucket_id), None)

    def put(self, lineage: str, bucket_id: int, head: Head, bucket: BucketState) -> None:
        """Keep a bucket whose state was written as `head`."""
        self._buckets[(lineage, bucket_id)] = (head, bucket)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)


worker_cache = BucketCache(capacity=4096)
"""The cache of this Python worker process."""


def load(
    store: LogStore,
    cache: BucketCache,
    lineage: str,
    bucket_id: int,
    rules: SessionRules,
    forgets: Readers | None = None,
) -> tuple[Head, BucketState]:
    """Return the bucket's state, taking it out of the cache: `save` puts it back once it is written.

    `lineage` names checkpoint and run, as one worker may serve several queries. A bucket that is rebuilt, as each is at
    its first call in a run, `forgets` the readers (user_ids) that are given: whatever replays it later finds them gone. Raises StateVersionError where
    the stored layout is another version's.
    """
    cached = cache.take(lineage, bucket_id)
    head = store.head()
    if head is None:
        bucket = BucketState(rules)
        return Head(LAYOUT_VERSION, 0, 0, bucket.clock_ms, bucket.wall_ms), bucket
    if head.layout != LAYOUT_VERSION:
        raise StateVersionError(
            f"the checkpoint's bucket log has layout {head.layout}, this code reads {LAYOUT_VERSION}: roll out "
            f"a new generation instead of resuming this checkpoint (docs/runbooks/stream_sessionize.md)"
        )
    if cached is not None and head.base <= cached[0].version <= head.version:
        at, bucket = cached[0].version, cached[1]
    else:
        at, bucket = max(head.base, 1) - 1, BucketState(rules)
        if forgets is not None:
            bucket.forget(forgets)
    for version in range(at + 1, head.version + 1):
        bucket.follow(decode_entry(store.entry(version)))
    bucket.clock_ms, bucket.wall_ms = head.clock_ms, head.wall_ms
    return head, bucket


def save(
    store: LogStore,
    cache: BucketCache,
    lineage: str,
    bucket_id: int,
    before: Head,
    bucket: BucketState,
    changes: BucketChanges,
) -> None:
    """Append what was touched (or a base, when its turn has come or readers were forgotten, whom older entries hold) and
    put the bucket into the cache.

    Nothing is written where nothing changed, as on a tick that closes no session.
    """
    version, base, touched = before.version, before.base, changes.touched
    if touched or (changes.has_forgotten and base != version):
        version += 1
        if changes.has_forgotten or (version + bucket_id) % COMPACT_EVERY == 0:
            store.put_entry(version, encode_entry(bucket.sessions()))
            for old in range(max(base, 1), version):
                store.remove_entry(old)
            base = version
        else:
            store.put_entry(version, encode_entry(touched))
    head = Head(LAYOUT_VERSION, version, base, bucket.clock_ms, bucket.wall_ms)
    if head != before:
        store.put_head(head)
    cache.put(lineage, bucket_id, head, bucket)
