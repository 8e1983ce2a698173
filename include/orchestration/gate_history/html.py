"""The page as text. No script, nothing loaded from elsewhere; every value is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from include.orchestration.alert_text import moment, run_url
from include.orchestration.gate_history.page import DAYS, GateHistory
from include.orchestration.pages.theme import THEME

_STYLE = f"""{THEME}
main {{ max-width: none; }} h2 {{ margin-top: 1.6rem; }}
td {{ white-space: nowrap; }} td.what {{ white-space: normal; max-width: 40rem; }} svg {{ display: block; }}
.ok {{ fill: var(--good); }} .critical {{ fill: var(--bad); }} .warning {{ fill: #e0a100; }}
.none, .info {{ fill: var(--muted); opacity: .5; }}
"""
_COLUMNS = (
    "expectation", "severity", "last checks", "checks", "failed", "no verdict", "last failure (UTC)", "what it found",
)  # fmt: skip
_MARK = 5
_MAX_TEXT = 300


def render(history: GateHistory, docs_url: str) -> str:
    """The whole page; `docs_url` is the docs server's address."""
    title = f"Gate history{f': {history.gate}' if history.gate else ''}"
    sections = [
        f"<h2><a href='?{urlencode({'gate': gate})}'>{escape(gate)}</a></h2>{_table(rows)}"
        for gate, rows in groupby(history.expectations, key=lambda row: str(row["gate"]))
    ]
    return "\n".join(
        (
            f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>",
            f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>",
            f"<p>The last {DAYS} days, as of {moment(history.at)}. Each mark is a check, the newest on the right: passed, ",
            "failed (red blocks, yellow warns), or without a verdict (grey: too little history). ",
            f'<a href="{escape(docs_url)}gx/index.html">Data Docs</a> · <a href="?">all gates</a></p>',
            *(sections or ["<p>No gate has checked anything yet.</p>"]),
            "</main></body></html>",
        )
    )


def _table(rows: Iterable[dict[str, Any]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in _COLUMNS)
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cells(row: dict[str, Any]) -> list[str]:
    plain = (row["expectation"], row["severity"])
    counts = (row["checks"], row["failures"], row["without_verdict"])
    return [
        *(f"<td>{escape(str(value))}</td>" for value in plain),
        f"<td>{_marks(row['verdicts'])}</td>",
        *(f"<td>{value:,}</td>" for value in counts),
        f"<td>{_failure(row)}</td>",
        f"<td class=what>{escape(_found(row))}</td>",
    ]


def _marks(verdicts: Sequence[str]) -> str:
    bars = "".join(
        f'<rect class={escape(verdict)} x="{number * _MARK}" width="{_MARK - 1}" height="14"/>'
        for number, verdict in enumerate(verdicts)
    )
    failed = sum(verdict not in ("ok", "none") for verdict in verdicts)
    title = f"{failed} of the last {len(verdicts)} failed"
    return f'<svg width="{len(verdicts) * _MARK}" height="14" role=img><title>{title}</title>{bars}</svg>'


def _failure(row: dict[str, Any]) -> str:
    if row["failed_at"] is None:
        return "-"
    address = run_url("", row["failed_dag_id"], row["failed_run_id"])
    return f'<a href="{escape(address)}" target=_top>{moment(row["failed_at"]).removesuffix(" UTC")}</a>'


def _found(row: dict[str, Any]) -> str:
    """What the newest failure found; or why there is no verdict."""
    if row["failed_at"] is None:
        return str(row["not_checked"] or "")
    found = dict(row["failed_observed"] or {})
    observed = found.pop("observed", None)
    told = observed.get("told", observed) if isinstance(observed, dict) else observed
    parts = [f"{row['failed_rows']:,} rows"] if row["failed_rows"] is not None else []
    parts += [str(told)] if told is not None else []
    parts += [f"{name}: {value}" for name, value in found.items()]
    text = "; ".join(parts)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
