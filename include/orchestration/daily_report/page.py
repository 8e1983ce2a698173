"""The page of a day and the index of all days. Pure functions."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from include.orchestration.alert_text import moment
from include.orchestration.daily_report.day import (
    NOTHING,
    Day,
    Row,
    compared,
    falling,
    top,
)
from include.orchestration.daily_report.operations import bounds
from include.orchestration.daily_report.texts import (
    NONE,
    Delta,
    Report,
    count,
    findings,
    is_known,
    percent,
    points,
    relative,
    short,
)
from include.orchestration.freshness.html import judged_s, kept_share, plot
from include.orchestration.freshness.judge import seconds
from include.orchestration.pages.svg_charts import STYLE, bar, lines
from include.orchestration.pages.theme import THEME, templates

_HERE = Path(__file__).parent
_HOURS = [(hour, f"{hour:02d}") for hour in range(0, 24, 4)]


def render_index(summaries: Sequence[Mapping[str, Any]]) -> str:
    """All days, newest first."""
    days = [
        {
            "dt": entry["dt"],
            "weekday": f"{date.fromisoformat(entry['dt']):%a}",
            "events": count(entry["events"]),
            "readings": count(entry["readings"]),
            "completion": percent(entry["completion_rate"]) if entry["readings"] else NONE,
            "exit": percent(entry["exit_rate"]) if entry["readings"] else NONE,
            "findings": entry["findings"],
        }
        for entry in sorted(summaries, key=lambda entry: str(entry["dt"]), reverse=True)
    ]
    return templates(_HERE).get_template("index.html.j2").render(theme=THEME, days=days)


def render(report: Report) -> str:
    """The page. The same figures give the same page: no time of writing stands in it."""
    day, before = report.day, report.before
    return (
        templates(_HERE)
        .get_template("page.html.j2")
        .render(
            theme=THEME,
            chart_style=STYLE,
            dt=day.dt.isoformat(),
            weekday=f"{day.dt:%A}",
            before_dt=f"{before.dt:%a} {before.dt}",
            has_before=is_known(before),
            cut=_cut(day),
            before_cut=_cut(before),
            findings=findings(report),
            tiles=_tiles(report),
            hours=_hours(day, before),
            unknown_hours=sum(hourly is None for hourly in day.events_by_hour),
            has_readings=bool(day.total.readings),
            countries=[_group(row) for row in compared(day.by_country, before.by_country)],
            genres=[_group(row) for row in compared(day.by_genre, before.by_genre)],
            top=[_episode(row, report.titles) for row in top(day, before)],
            falling=[_episode(row, report.titles) for row in falling(day, before)],
            operations=report.operations,
            dead_letters=[(reason, count(number)) for reason, number in day.dead_letters.items()],
            freshness=_freshness(report),
            misses=[
                (miss.dag_id, miss.run_id, seconds(miss.allowed_s), moment(miss.missed_at))
                for miss in report.operations.deadline_misses
            ],
            count=count,
        )
    )


def _cut(day: Day) -> str | None:
    if day.cut is None:
        return None
    return (
        f"cut {day.cut.cut_id} (ledger position {count(day.cut.ledger_position)}, events up to "
        f"{moment(day.cut.as_of)}), published {moment(day.cut.published_at)}"
    )


def _tiles(report: Report) -> list[tuple[str, str, Delta]]:
    day, before = report.day, report.before
    total = Row("", day.total, before.total)
    known = bool(day.total.readings)
    return [
        ("Events", count(day.events), relative(day.events, before.events)),
        (
            "Readings",
            count(day.total.readings),
            relative(day.total.readings, before.total.readings),
        ),
        ("Readers", count(day.readers), relative(day.readers, before.readers)),
        ("Sessions", count(day.sessions), relative(day.sessions, before.sessions)),
        (
            "Completion",
            percent(day.total.completion_rate) if known else NONE,
            points(total, "completion_rate", more_is_better=True),
        ),
        (
            "Exit",
            percent(day.total.exit_rate) if known else NONE,
            points(total, "exit_rate", more_is_better=False),
        ),
    ]


def _hours(day: Day, before: Day) -> Any:
    if not day.events and not before.events:
        return None
    label = f"Events by hour, UTC: {day.dt}, and {before.dt} dashed"
    return lines(day.events_by_hour, before.events_by_hour, label, _HOURS, short)


def _group(row: Row) -> dict[str, Any]:
    known, was = row.now.readings > 0, row.before.readings > 0

    def rate(name: str, title: str) -> Any:
        now, before = getattr(row.now, name), getattr(row.before, name) if was else None
        then = f", {percent(before)} the week before" if before is not None else ""
        return bar(now, before, f"{row.name}: {title} {percent(now)}{then}")

    return {
        "name": row.name,
        "readings": count(row.now.readings),
        "readings_change": relative(row.now.readings, row.before.readings),
        "completion": percent(row.now.completion_rate) if known else NONE,
        "completion_bar": rate("completion_rate", "completion") if known else "",
        "completion_change": points(row, "completion_rate", more_is_better=True),
        "exit": percent(row.now.exit_rate) if known else NONE,
        "exit_bar": rate("exit_rate", "exit") if known else "",
        "exit_change": points(row, "exit_rate", more_is_better=False),
    }


def _episode(row: Row, titles: Mapping[str, str]) -> dict[str, Any]:
    return {
        "title": titles.get(row.name, "unknown to reference"),
        "episode_id": row.name,
        "readings": count(row.now.readings),
        "before": count(row.before.readings),
        "change": relative(row.now.readings, row.before.readings),
        "completion": percent(row.now.completion_rate) if row.now != NOTHING else NONE,
    }


def _freshness(report: Report) -> list[dict[str, Any]]:
    day = bounds(report.day.dt)
    rows = []
    for table, measured in report.operations.freshness.items():
        if not measured:
            continue
        share = kept_share(measured)
        judged = [value for _, row in measured if (value := judged_s(row)) is not None]
        rows.append(
            {
                "table": table,
                "slo": seconds(measured[-1][1].slo_s),
                "worst": seconds(max(judged)) if judged else NONE,
                "kept": NONE if share is None else percent(share),
                "tone": "" if share is None else ("good" if share == 1 else "bad"),
                "plot": plot(table, measured, day["start"], day["end"]),
            }
        )
    return rows
