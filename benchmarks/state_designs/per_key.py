"""The stream's own engine on Spark's other Python state API, a key's rows in pandas chunks; imported by workers, so kept importable by path.

The state of a key is its clocks and the encoded sessions: of one session_id, or of a bucket as one blob. The clock
of a session_id alone is its own, not its partition's: no event is late there for the sake of other sessions'. Rows
are the same where the topic has no late events.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from include.contract.bucket import BucketState
from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize.changes import readings_to_ipc
from include.spark_jobs.stream_sessionize.packing import COLUMNS
from include.spark_jobs.stream_sessionize.processor import Arrivals

if TYPE_CHECKING:
    import pandas as pd

STATE_SCHEMA = "clock LONG, sessions BINARY"
OUTPUT_SCHEMA = "upserts BINARY"
_RULES = SessionRules()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def apply_whole(
    stored: tuple[int, bytes] | None, chunks: Iterable["pd.DataFrame"]
) -> tuple[tuple[int, bytes], Any]:
    """Bring a key's state forward by the chunks; returns the new state and one row of OUTPUT_SCHEMA."""
    import pandas as pd

    bucket = (
        BucketState(_RULES) if stored is None else BucketState.restore(_RULES, stored[0], _decode(stored[1]))
    )
    arrivals = Arrivals()
    for chunk in chunks:
        for record in zip(*(chunk[name].tolist() for name in COLUMNS), strict=True):
            arrivals.take(*record)
    changes = bucket.apply(arrivals.records)
    row = pd.DataFrame({"upserts": [readings_to_ipc(changes.upserts)]})
    return (bucket.clock_ms, _encode(dict(bucket.sessions()))), row


def with_group_state(
    key: tuple[Any, ...], chunks: Iterator["pd.DataFrame"], state: Any
) -> Iterator["pd.DataFrame"]:
    """What applyInPandasWithState calls for a key."""
    stored, row = apply_whole(state.get if state.exists else None, chunks)
    state.update(stored)
    yield row


class WholeStateProcessor(StatefulProcessor):
    """What transformWithStateInPandas calls for a key: one value, rewritten whole."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state."""
        self._state = handle.getValueState("whole", STATE_SCHEMA)

    def handleInputRows(  # noqa: N802  the name is Spark's
        self,
        key: Any,
        rows: Iterator["pd.DataFrame"],
        timerValues: Any,  # noqa: N803  the name is Spark's
    ) -> Iterator["pd.DataFrame"]:
        """Read, apply, write."""
        stored = self._state.get()
        fresh, row = apply_whole(None if stored is None else (stored[0], bytes(stored[1])), rows)
        self._state.update(fresh)
        yield row
