"""Figures of earlier slices and cuts, from the tables that their writers leave: nothing is kept twice."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from include.common.archive.slices import SliceError
from include.gx.history import DRIFT_SLICES, MIN_READINGS, OUTLIER_CUTS, VOLUME_DAYS, CutHistory, SliceHistory
from include.gx.rules import drift_rule, quantiles_rule

_HERE = Path(__file__).parent
_VOLUME, _COUNTS, _NEW_READINGS, _QUANTILES = (
    (_HERE / f"{name}.sql").read_text()
    for name in ("slice_volume", "slice_counts", "new_readings", "cut_quantiles")
)


def slice_history(
    connection: psycopg.Connection,
    slice_id: str,
    gate: str,
    columns: tuple[str, ...],
    thresholds: Mapping[str, float],
) -> SliceHistory:
    """What slice `slice_id` is compared with; the same whenever it is asked. Raises SliceError for an unknown slice.

    `columns`: those whose distributions are checked. `thresholds`: VOLUME_DAYS and DRIFT_SLICES.
    """
    cursor = psycopg.RawCursor(connection, row_factory=dict_row)
    timed = cursor.execute(_VOLUME, (slice_id, int(thresholds[VOLUME_DAYS]))).fetchone()
    if timed is None:
        raise SliceError(f"slice {slice_id!r} is not recorded in table ops.archive_slices")
    rules = {drift_rule(column): column for column in columns}
    asked = (slice_id, int(thresholds[DRIFT_SLICES]), gate, list(rules))
    rows = cursor.execute(_COUNTS, asked).fetchall()
    counts: dict[str, Counter[str]] = {column: Counter() for column in columns}
    for row in rows:
        counts[rules[row["expectation"]]].update(row["counts"])
    return SliceHistory(
        recorded_at_ms=timed["recorded_at_ms"],
        seconds=timed["seconds"],
        daily_rates=[float(rate) for rate in timed["daily_rates"]],
        slices=len({row["run_id"] for row in rows}),
        counts=counts,
    )


def cut_history(
    connection: psycopg.Connection,
    cut: Any,
    gate: str,
    columns: tuple[str, ...],
    thresholds: Mapping[str, float],
) -> CutHistory:
    """What the readings of `cut` (include.orchestration.model.Cut) that are new in it are compared with."""
    cursor = psycopg.RawCursor(connection)
    new = cursor.execute(_NEW_READINGS, (cut.cut_id, cut.generation, cut.ledger_position)).fetchone()
    if new is None:
        raise RuntimeError("an aggregate gave no row")
    rules = {quantiles_rule(column): column for column in columns}
    cuts = int(thresholds[OUTLIER_CUTS])
    asked = (cut.cut_id, cut.generation, cuts, gate, list(rules), MIN_READINGS)
    found: dict[str, list[list[float]]] = {column: [] for column in columns}
    for expectation, values in cursor.execute(_QUANTILES, asked).fetchall():
        found[rules[expectation]].append([float(value) for value in values])
    return CutHistory(
        ledger_position=new[0],
        new_readings=new[1],
        quantiles=found,
    )
