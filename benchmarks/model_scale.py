"""The model of `benchmarks.batch`: the same change on histories of several lengths, beside a plain SQL scan."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.model_history import add_change, fill_history, rows_read
from benchmarks.stack import BenchmarkError, BenchStack, say
from include.dbt.command import run_dbt, store_environment
from include.orchestration import model

_SCAN = """
SELECT count(*), count(DISTINCT user_id), sum(completion_rate), max(ended_at)
FROM realtime.session_features WHERE is_final
"""


@dataclass(frozen=True)
class Step:
    """One run of the model: seconds of `fix_cut`, of dbt (its models alone, and with its start), of publication."""

    fix_cut_s: float
    dbt_s: float
    models_s: float
    publish_s: float
    realtime_rows: int
    """Rows read of realtime.session_features by all of these."""
    changed: int
    """Mart rows that publication changed."""


@dataclass(frozen=True)
class Scaled:
    """What a history of `readings` costs: once wholly, and for the same change."""

    readings: int
    scan_s: float
    rebuild: Step
    change: Step

    def as_json(self) -> dict[str, Any]:
        """For the last line."""
        return {
            "sessions": self.readings,
            "scan_s": round(self.scan_s, 3),
            **{
                name: {key: round(value, 3) for key, value in asdict(step).items()}
                for name, step in (("rebuild", self.rebuild), ("change", self.change))
            },
            "change_models_vs_scan": round(self.change.models_s / self.scan_s, 3),
            "rebuild_models_vs_scan": round(self.rebuild.models_s / self.scan_s, 3),
            "change_rows_vs_table": round(self.change.realtime_rows / self.readings, 5),
        }


def measure_model(bench: BenchStack, readings: int) -> Scaled:
    """A history of `readings` sessions with a reading each, its first cut, the change, the cut of that."""
    dsn = bench.database("model")
    say(f"{readings:,} sessions: loading ...")
    fill_history(dsn, readings)
    target = bench.context.paths.root / "dbt"
    scan_s = min(_timed(lambda: _scan(dsn)) for _ in range(3))
    rebuild = _step(dsn, "rebuild", target)
    add_change(dsn, readings)
    with psycopg.connect(bench.context.admin_dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # the change does not pay for the writes of the rebuild
    change = _step(dsn, "change", target)
    say(
        f"{readings:,} sessions: scan {scan_s:.2f} s, rebuild {rebuild.models_s:.1f} s, change {change.models_s:.1f} s"
    )
    return Scaled(readings, scan_s, rebuild, change)


def _step(dsn: str, run_id: str, target: Path) -> Step:
    before = rows_read(dsn)
    began = time.monotonic()
    cut = model.fix_cut(dsn, run_id)
    fixed = time.monotonic()
    if cut.is_rebuild != (run_id == "rebuild"):
        raise BenchmarkError(f"{run_id}: {cut.rebuild_reason}")
    full = ["--full-refresh"] if cut.is_rebuild else []
    run_dbt(["run", "--quiet", *full], store_environment(dsn), target)
    built = time.monotonic()
    changed = model.publish(dsn, cut.cut_id)
    published = time.monotonic()
    results = json.loads((target / "run_results.json").read_text())["results"]
    return Step(
        fixed - began, built - fixed, sum(found["execution_time"] for found in results), published - built,
        rows_read(dsn) - before, sum(changed.values()),
    )  # fmt: skip


def _scan(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(_SCAN)


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
