"""What was found, as one line for an alert and as a page. No personal id stands in either."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from include.orchestration.alert_text import moment
from include.orchestration.reconcile.model import Comparison, Outcome

PAGE: Final = Path("reconciliation") / "index.html"
"""Below the docs folder."""
ENTRIES: Final = 400
"""On the page; all are in quality.reconciliation."""
_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.2rem; } h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
.different { background: #d223; font-weight: 600; } .not_checked { opacity: .7; } pre { white-space: pre-wrap; }
"""
_COLUMNS = {
    "dt": "day", "verdict": "verdict", "rows_equal": "equal", "rows_differing": "differ", "only_published": "only in Hive",
    "only_recomputed": "only recomputed", "rows_doubled": "doubled", "late_events_checked": "late events checked",
    "genre_unknown_then": "genre learnt later", "events_read": "events read", "took_seconds": "s",
    "generation": "generation", "ledger_position": "ledger position", "checked_at": "checked",
}  # fmt: skip


def describe(outcome: Outcome) -> str:
    """One line about a day."""
    it, dt = outcome.comparison, outcome.day.dt
    if it is None:
        return f"{dt}: not checked, {outcome.reason}"
    if not it.different:
        return (
            f"{dt}: {it.rows_equal} rows equal, {it.late_checked} late events confirmed{_left_out(outcome)}"
        )
    return f"{dt}: {'; '.join(_faults(it))}; {it.rows_equal} rows equal{_left_out(outcome)}"


def _left_out(outcome: Outcome) -> str:
    return f"; {outcome.reason}" if outcome.reason else ""


def _faults(it: Comparison) -> list[str]:
    columns = ", ".join(f"{name} {count}" for name, count in it.by_column.items())
    counted = {
        f"differ ({columns})": it.differing,
        "only in Hive": it.only_published,
        "only recomputed": it.only_recomputed,
        "doubled in Hive": it.doubled,
    }
    late = [f"{count} wrong in the late list ({fault})" for fault, count in it.late_faults.items()]
    return [f"{count} rows {what}" for what, count in counted.items() if count] + late


def page(entries: Sequence[Mapping[str, Any]]) -> str:
    """The history, newest first, and the samples of what differed; every value is escaped."""
    heads = "".join(f"<th>{head}</th>" for head in (*_COLUMNS.values(), "run"))
    rows = "\n".join(_table_row(entry) for entry in entries)
    details = "\n".join(_details(entry) for entry in entries if entry["verdict"] == "different")
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Reconciliation</title><style>{_STYLE}</style>"
        f"</head><body><h1>Stream = batch</h1><p>Days of Hive's session_features against their recomputation in SQL from"
        f" the archived events, the newest {len(entries)} entries of quality.reconciliation. A day that was not checked"
        f" says why; nothing is known of its rows.</p><div class=wide><table><tr>{heads}</tr>{rows}</table></div>"
        f"{details}</body></html>"
    )


def _table_row(entry: Mapping[str, Any]) -> str:
    cells = "".join(f"<td>{escape(_cell(entry[name]))}</td>" for name in _COLUMNS)
    columns = [f"{name} {count}" for name, count in (entry["differing_by_column"] or {}).items()]
    note = ", ".join([*([entry["reason"]] if entry["reason"] else []), *columns])
    run = escape(str(entry["run_id"]))
    return f"<tr class={escape(entry['verdict'])}>{cells}<td>{run}</td><td>{escape(note)}</td></tr>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return moment(value) if hasattr(value, "hour") else str(value)


def _details(entry: Mapping[str, Any]) -> str:
    lines = "\n".join(json.dumps(sample, ensure_ascii=False) for sample in entry["samples"])
    late = ", ".join(f"{fault} {count}" for fault, count in entry["late_events_wrong"].items())
    return f"<h2>{entry['dt']}, {moment(entry['checked_at'])}</h2><p>{escape(late)}</p><pre>{escape(lines)}</pre>"


def write_page(docs: Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page below the docs folder, whole; returns it."""
    target = docs / PAGE
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.tmp")
    hidden.write_text(page(entries), encoding="utf-8")
    return hidden.replace(target)
