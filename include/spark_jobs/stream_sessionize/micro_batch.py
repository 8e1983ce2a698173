"""Everything one micro-batch changes, as the writer gets it from the buckets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from include.contract.sessions import ReadingKey
from include.spark_jobs.stream_sessionize.changes import Tally
from include.spark_jobs.stream_sessionize.reader import Offsets

if TYPE_CHECKING:
    import pyarrow as pa

_KEY: Final = list(ReadingKey._fields)


@dataclass(frozen=True)
class MicroBatch:
    """Everything one micro-batch changes. `upserts` has `changes.readings_schema()`."""

    batch_id: int
    start: Offsets
    end: Offsets
    upserts: "pa.Table"
    tallies: Sequence[Tally]

    def from_start(self, publish_from_ms: int | None) -> "MicroBatch":
        """What of it concerns sessions that began at `publish_from_ms` (epoch ms) or later; its counts stay."""
        if publish_from_ms is None:
            return self
        import pyarrow.compute as pc

        upserts = self.upserts.filter(pc.field("session_start_ms") >= publish_from_ms)
        tallies = [
            msgspec.structs.replace(
                tally, deletes=[key for key in tally.deletes if key.session_start_ms >= publish_from_ms]
            )
            for tally in self.tallies
        ]
        return replace(self, upserts=upserts, tallies=tallies)

    def one_row_a_key(self) -> "MicroBatch":
        """No two rows of one key, and none that is removed, too.

        Each bucket gives out a key once. But a producer that puts a session's events into two partitions has two buckets
        give out the same one: then the last one counts, as it does when they come in two micro-batches.
        """
        rows = self.upserts.select(_KEY)
        upserts, tallies = self.upserts, self.tallies
        if rows.group_by(_KEY).aggregate([]).num_rows < rows.num_rows:
            upserts = upserts.take(_last_of_each(rows))
        if self.total_deletes:
            tallies = _without(_keys_of_sessions(upserts, tallies), tallies)
        return replace(self, upserts=upserts, tallies=tallies)

    def total(self, name: str) -> int:
        """Sum of a counter over the buckets."""
        return sum(getattr(tally, name) for tally in self.tallies)

    @property
    def total_deletes(self) -> int:
        """Re-keyed rows."""
        return sum(len(tally.deletes) for tally in self.tallies)

    @property
    def total_late(self) -> int:
        """Late events."""
        return sum(len(tally.late) for tally in self.tallies)

    @property
    def total_records(self) -> int:
        """Records of the topic that reached a bucket; the offsets say independently how many there were."""
        return sum(map(self.total, ("accepted", "duplicates", "dead_letters", "erased"))) + self.total_late


def _last_of_each(rows: "pa.Table") -> "pa.ChunkedArray":
    """Place of the last row of each key, in order."""
    import numpy as np
    import pyarrow as pa

    numbered = rows.append_column("place", pa.array(np.arange(rows.num_rows)))
    return numbered.group_by(_KEY).aggregate([("place", "max")])["place_max"].sort()


def _keys_of_sessions(upserts: "pa.Table", tallies: Sequence[Tally]) -> set[ReadingKey]:
    """Keys of those rows whose session has a row removed, too."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sessions = pa.array({key.session_id for tally in tallies for key in tally.deletes}, pa.string())
    rows = upserts.filter(pc.is_in(upserts["session_id"], sessions)).select(_KEY)
    return set(map(ReadingKey._make, zip(*(column.to_pylist() for column in rows.columns), strict=True)))


def _without(kept: set[ReadingKey], tallies: Sequence[Tally]) -> list[Tally]:
    """`tallies` that remove no key that is `kept`, and each other one once."""
    removed: set[ReadingKey] = set()
    found = []
    for tally in tallies:
        deletes = [key for key in dict.fromkeys(tally.deletes) if key not in kept and key not in removed]
        removed.update(deletes)
        found.append(msgspec.structs.replace(tally, deletes=deletes))
    return found
