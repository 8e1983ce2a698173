"""The page as text. No script, nothing loaded from elsewhere; every value is escaped."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any

from include.orchestration.alert_text import duration, moment
from include.orchestration.pages.theme import THEME
from include.orchestration.progress_page.history import History, Phases

_STYLE = f"""{THEME}
main {{ max-width: none; }} h2 {{ margin-top: 1.6rem; }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: .2rem 1rem; }} dt {{ color: var(--muted); }}
dd {{ margin: 0; }} figure {{ margin: 0; }} figcaption {{ color: var(--muted); }}
.charts {{ display: flex; flex-wrap: wrap; gap: 1rem; margin-bottom: 1rem; }}
svg {{ display: block; border-bottom: 1px solid var(--rail); }}
polyline {{ fill: none; stroke: var(--ink); stroke-width: 1.5; }}
th, td {{ padding: .15rem .6rem; text-align: right; white-space: nowrap; }}
th {{ position: sticky; top: 0; background: var(--ground); }}
"""
_MINUTE_COLUMNS = (
    "minute (UTC)", "micro-batches", "records", "records/s", "p50 ms", "slowest ms", "worst freshness s", "largest lag",
    "watermark",
)  # fmt: skip
_BATCH_COLUMNS = (
    "micro-batch", "committed (UTC)", "records", "dead letters", "late", "ms", "Kafka ms", "Spark ms", "write ms",
    "worst freshness s", "lag by partition", "low clock", "high clock", "state rows", "state MB",
)  # fmt: skip
_WIDTH, _HEIGHT = 360, 70


def render(history: History) -> str:
    """The whole page."""
    minutes = history.minutes
    charts = (
        ("records/s", [row["records"] / 60 for row in minutes]),
        ("worst freshness, s", [row["worst_freshness_s"] or 0.0 for row in minutes]),
        ("slowest micro-batch, ms", [row["max_ms"] or 0 for row in minutes]),
    )
    return "\n".join(
        (
            "<!doctype html><html lang=en><head><meta charset=utf-8><title>Stream progress</title>",
            f"<style>{_STYLE}</style></head><body><main><h1>Stream progress</h1>",
            _summary(history),
            "<h2>The last 2 h, by minute</h2><div class=charts>",
            *(_chart(name, values[::-1]) for name, values in charts),
            "</div>",
            _table(_MINUTE_COLUMNS, (_minute(row) for row in minutes)),
            "<h2>The newest micro-batches</h2>",
            _table(_BATCH_COLUMNS, (_batch(row) for row in history.batches)),
            "</main></body></html>",
        )
    )


def _summary(history: History) -> str:
    facts: list[tuple[str, str]] = [("as of", moment(history.at))]
    if history.driver is not None:
        facts += [
            ("the driver should be", history.driver["desired_state"]),
            ("it was started", moment(history.driver["driver_started_at"])),
            ("restarts since ever", str(history.driver["restarts"])),
            ("by run", history.driver["run_id"] or "-"),
        ]
    if history.batches:
        newest = history.batches[0]
        ago = duration(history.at - newest["committed_at"])
        facts += [
            ("last commit", f"{moment(newest['committed_at'])}, {ago} ago"),
            ("watermark", f"{moment(newest['low_clock_at'])} to {moment(newest['high_clock_at'])}"),
        ]
    else:
        facts.append(("last commit", "none yet"))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{listed}</dl>"


def _chart(name: str, values: Sequence[float]) -> str:
    """Values from left to right, scaled to the largest, which the caption names."""
    top = max(values, default=0) or 1
    step = _WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{number * step:.1f},{_HEIGHT - value / top * (_HEIGHT - 4):.1f}"
        for number, value in enumerate(values)
    )
    caption = f"{name} (highest {max(values, default=0):,.1f})"
    return (
        f"<figure><svg width={_WIDTH} height={_HEIGHT} role=img><title>{escape(caption)}</title>"
        f'<polyline points="{points}"/></svg><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _minute(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["minute"].strftime("%H:%M"), str(row["batches"]), f"{row['records']:,}", f"{row['records'] / 60:,.1f}",
        _number(row["p50_ms"]), _number(row["max_ms"]), _seconds(row["worst_freshness_s"]), _number(row["max_lag"]),
        _clock(row["low_clock_at"]),
    )  # fmt: skip


def _batch(row: dict[str, Any]) -> tuple[str, ...]:
    phases = Phases.of(row["durations_ms"] or {})
    state = row["state"] or {}
    lag = ", ".join(f"{part}: {records}" for part, records in sorted((row["lag_records"] or {}).items()))
    memory = state.get("memoryUsedBytes")
    return (
        str(row["batch_id"]), _clock(row["committed_at"]), f"{row['events']:,}", str(row["dead_letters"]),
        str(row["late_events"]), str(phases.total), str(phases.kafka), str(phases.spark), str(phases.write),
        _seconds(row["worst_freshness_s"]), lag or "-", _clock(row["low_clock_at"]), _clock(row["high_clock_at"]),
        _number(state.get("numRowsTotal")), "-" if memory is None else f"{memory / 1e6:.1f}",
    )  # fmt: skip


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _clock(value: datetime | None) -> str:
    """Time of the day where it is of these days, else with the date."""
    if value is None:
        return "-"
    recent = datetime.now(value.tzinfo) - value < timedelta(hours=12)
    return value.strftime("%H:%M:%S" if recent else "%Y-%m-%d %H:%M:%S")
