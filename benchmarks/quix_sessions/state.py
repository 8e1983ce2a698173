"""The session rules over one key, the way Quix Streams hands events over: state bytes in, rows out.

The rules themselves are `include.contract.session_state`, the project's own engine: pure Python, exact in any
order of arrival, and faster here than what was written for this application alone. Lateness is measured against
the key's own newest event: a function over a key has no clock of the partition that it could read.
"""

import struct

from include.contract.event import ReadingEvent
from include.contract.rules import SessionRules
from include.contract.session_state import SessionState
from include.contract.sessions import Reading, ReadingKey

RULES = SessionRules()
_CLOCK = struct.Struct("<q")
_NO_TICKS = -1
Step = tuple[bytes, list[Reading], list[ReadingKey]]
"""New state, rows that changed, keys of rows that are no more."""


def advance(
    stored: bytes | None, event: ReadingEvent, partition: int, offset: int, kafka_ms: int
) -> Step | None:
    """Take the key's next event, in offset order; None where it is a repeat or late."""
    if stored is None:
        clock_ms, state = event.timestamp, SessionState(event.session_id, partition)
    else:
        clock_ms = _CLOCK.unpack_from(stored)[0]
        state = SessionState.decode(event.session_id, stored[_CLOCK.size :])
    if state.holds(event.event_id) or event.timestamp < clock_ms - RULES.lateness_ms:
        return None
    state.add(event, kafka_ms, offset, RULES)
    clock_ms = max(clock_ms, event.timestamp)
    horizon_ms = clock_ms - RULES.lateness_ms
    if state.due_ms < horizon_ms:
        state.finalise(horizon_ms, RULES)
    upserts, deletes, idle_ms = state.emit(RULES, _NO_TICKS)
    return _CLOCK.pack(clock_ms) + state.encode(idle_ms, RULES), upserts, deletes
