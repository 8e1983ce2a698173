"""The page as text: SLO, last value and the last 24 hours of each table."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from include.orchestration.alert_text import moment
from include.orchestration.freshness.judge import Freshness, seconds
from include.orchestration.pages.svg_charts import STYLE, history
from include.orchestration.pages.theme import THEME, templates

SLOT = timedelta(minutes=5)
Measurements = Sequence[tuple[datetime, Freshness]]
_STATES = {True: ("good", "kept"), False: ("bad", "missed"), None: ("idle", "idle")}


def render(tables: Mapping[str, Measurements], at: datetime) -> str:
    """The whole page, of the measurements of the 24 hours before `at`."""
    start = at - timedelta(hours=24)
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            theme=THEME,
            chart_style=STYLE,
            at=moment(at),
            rows=[_row(table, measurements, start, at) for table, measurements in tables.items()],
        )
    )


def plot(table: str, measurements: Measurements, start: datetime, end: datetime) -> Any:
    """What was judged (p99 or the longest wait, whichever is larger) in slots of SLOT; a gap where nothing was measured."""
    count = int((end - start) / SLOT)
    values: list[float | None] = [None] * count
    missed = [False] * count
    for at, row in measurements:
        slot = int((at - start) / SLOT)
        judged = judged_s(row)
        if not 0 <= slot < count or judged is None:
            continue
        values[slot] = max(judged, values[slot] or 0.0)
        missed[slot] = missed[slot] or row.met is False
    limit = measurements[-1][1].slo_s if measurements else 1.0
    return history(values, missed, limit, f"{table}: freshness against its SLO of {seconds(limit)}")


def judged_s(row: Freshness) -> float | None:
    """The figure that the SLO is held against."""
    return max((value for value in (row.p99_s, row.waiting_s) if value is not None), default=None)


def kept_share(measurements: Measurements) -> float | None:
    """Share of the measurements with something to judge that met the SLO."""
    verdicts = [row.met for _, row in measurements if row.met is not None]
    return sum(verdicts) / len(verdicts) if verdicts else None


def _row(table: str, measurements: Measurements, start: datetime, at: datetime) -> dict[str, Any]:
    newest = measurements[-1][1] if measurements else None
    state, text = _STATES[newest.met] if newest else ("idle", "not measured")
    share = kept_share(measurements)
    figures = ("p50_s", "p99_s", "waiting_s", "slo_s", "value_age_s")
    return {
        "table": table,
        "state": state,
        "state_text": text,
        "kept": "–" if share is None else f"{share * 100:.1f} %",
        "plot": plot(table, measurements, start, at),
        **{name: _text(getattr(newest, name, None)) for name in figures},
    }


def _text(value: float | None) -> str:
    return "–" if value is None else seconds(value)
