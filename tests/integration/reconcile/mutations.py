"""Changes to the stream's source, each of which makes wrong numbers; the reconciliation must see every one."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.integration.stream_support import PROJECT_ROOT

BUCKET = "include/contract/bucket.py"
ROWS = "include/contract/flat_rows.py"
STATE = "include/contract/session_state.py"
LANDING = "include/spark_jobs/stream_sessionize/landing.py"


@dataclass(frozen=True)
class Mutation:
    """`edits`: (file, what stands there, what stands there instead). `columns` or `kinds`: what must be named."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    columns: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    def apply(self, root: Path) -> Path:
        """A copy of include/ below `root` with the edits; returns `root`. What is edited must stand there."""
        shutil.copytree(
            PROJECT_ROOT / "include", root / "include", ignore=shutil.ignore_patterns("__pycache__")
        )
        for file, old, new in self.edits:
            path = root / file
            text = path.read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{self.name}: {file} has {text.count(old)} times {old!r}"
            path.write_text(text.replace(old, new), encoding="utf-8")
        return root


def _columns(*names: str) -> frozenset[str]:
    return frozenset(names)


MUTATIONS = (
    Mutation(
        "an_event_is_dropped",
        ((BUCKET, "            state.add(event, kafka_ms, offset, self.rules)",
          "            if offset % 41:\n                state.add(event, kafka_ms, offset, self.rules)"),),
        _columns("event_count"),
    ),
    Mutation(
        "a_batch_is_applied_twice",
        ((BUCKET, "            state.add(event, kafka_ms, offset, self.rules)",
          ("            for _ in range(1 + (offset // 300 == 2)):\n"
          "                state.add(event, kafka_ms, offset, self.rules)")),
         (STATE, "self._waiting[event_id] =", "self._waiting[event_id, len(self._waiting)] =")),
        _columns("event_count"),
    ),
    Mutation(
        "a_repeat_is_counted",
        ((BUCKET, "if state.holds(event.event_id):", "if offset % 2 and state.holds(event.event_id):"),
         (STATE, "self._waiting[event_id] =", "self._waiting[event_id, offset] =")),
        _columns("event_count"),
    ),
    Mutation(
        "a_ratio_is_rounded",
        ((STATE, "1.0 if status == COMPLETED else ratio or 0.0", "1.0 if status == COMPLETED else round(ratio or 0.0, 6)"),),
        _columns("completion_rate"),
    ),
    Mutation(
        "a_session_is_cut_in_two",
        ((ROWS, "if pause_ms > gap_ms or", "if pause_ms > gap_ms // 2 or"),
         (ROWS, "elif time_ms - last_ms > rules.gap_ms or", "elif time_ms - last_ms > rules.gap_ms // 2 or")),
        kinds=_columns("only_published", "only_recomputed"),
    ),
    Mutation(
        "the_gap_is_off_by_one",
        ((ROWS, "if pause_ms > gap_ms or", "if pause_ms >= gap_ms or"),
         (ROWS, "elif time_ms - last_ms > rules.gap_ms or", "elif time_ms - last_ms >= rules.gap_ms or")),
        kinds=_columns("only_published"),
    ),
    Mutation(
        "a_late_event_is_applied",
        ((BUCKET, "elif event.timestamp < horizon_ms:", "elif event.timestamp < horizon_ms - 600_000:"),),
        kinds=_columns("late list: applied_though_late"),
    ),
    Mutation(
        "a_good_event_is_called_late",
        ((BUCKET, "elif event.timestamp < horizon_ms:", "elif event.timestamp < horizon_ms + 30_000:"),),
        kinds=_columns("late list: not_behind_its_clock"),
    ),
    Mutation(
        "the_dwell_cap_is_wrong",
        ((ROWS, "if pause_ms < cap_ms else cap_ms", "if pause_ms <= cap_ms else cap_ms + 1"),),
        _columns("dwell_time_ms"),
    ),
    Mutation(
        "the_pause_after_an_exit_is_read",
        ((ROWS, "if last_code != _EXIT:", "if True:"),),
        _columns("dwell_time_ms"),
    ),
    Mutation(
        "attributes_are_those_of_the_latest_event",
        ((ROWS, "            facts[9] = time_ms\n            _count(facts",
          "            facts[9] = time_ms\n            facts[2] = event[7]\n            _count(facts"),),
        _columns("country"),
    ),
    Mutation(
        "a_session_is_final_too_early",
        ((STATE, "            if self.due_ms >= horizon_ms:", "            if self.due_ms - 1_200_000 >= horizon_ms:"),
         (BUCKET, "        if state.due_ms < horizon_ms:\n            state.finalise(horizon_ms, self.rules)\n        if state.holds",
          "        if state.due_ms - 1_200_000 < horizon_ms:\n            state.finalise(horizon_ms, self.rules)\n        if state.holds")),
        kinds=_columns("only_published"),
    ),
    Mutation(
        "a_reading_is_not_landed",
        ((LANDING, "    if final.num_rows == 0:", "    final = final.slice(1)\n    if final.num_rows == 0:"),),
        kinds=_columns("only_recomputed"),
    ),
    Mutation(
        "the_newest_offset_is_forgotten",
        ((ROWS, "if offset > facts[10]:", "if offset > facts[10] + 50:"),),
        _columns("last_offset"),
    ),
)  # fmt: skip
