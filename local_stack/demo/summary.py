"""The tables at the end of the demo, and the checks that make its exit status."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from include.common.names import Hive, Pg, Topic
from local_stack.airflow_api import AirflowApi
from local_stack.context import Context
from local_stack.demo.steps import Outcome, all_dags
from local_stack.demo.stores import Stores

HIVE_TABLES = (
    Hive.RAW_EVENTS, Hive.QUARANTINED_EVENTS, Hive.DEAD_LETTERS, Hive.SESSION_FEATURES,
    Hive.CONTENT_QUALITY_DAILY, Hive.USER_FEATURES_DAILY, Hive.EPISODE_FEATURES_DAILY, Hive.SEGMENT_FEATURES_DAILY,
    Hive.USER_FEATURE_HISTORY, Hive.EPISODE_FEATURE_HISTORY,
)  # fmt: skip
POSTGRES_TABLES = (
    Pg.EPISODE_METADATA, Pg.SESSION_FEATURES, Pg.USER_FEATURES, Pg.EPISODE_FEATURES, Pg.LATE_EVENTS,
    f"{Pg.MARTS_SCHEMA}.user_features", f"{Pg.MARTS_SCHEMA}.episode_features", f"{Pg.MARTS_SCHEMA}.segment_features",
)  # fmt: skip
_GATES = f"""
SELECT gate, run_id, count(*) AS checks,
    count(*) FILTER (WHERE NOT success AND severity = 'critical') AS blocking,
    count(*) FILTER (WHERE NOT success AND severity <> 'critical') AS warnings,
    string_agg(DISTINCT expectation, ', ') FILTER (WHERE NOT success) AS failed
FROM {Pg.GATE_RESULTS} WHERE checked_at >= %s GROUP BY gate, run_id ORDER BY min(checked_at)
"""
_SLICES = f"""
SELECT coalesce(sum(produced), 0) AS produced, coalesce(sum(archived), 0) AS archived,
    coalesce(sum(quarantined), 0) AS quarantined, coalesce(sum(dead_letters), 0) AS dead_letters
FROM {Pg.ARCHIVE_SLICES}
"""
# a row that is still active was last changed by an event, not by the clock that closed it
_FRESHNESS = """
SELECT count(*) AS readings,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY realtime_freshness_s) AS p50,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY realtime_freshness_s) AS p95,
    max(realtime_freshness_s) AS worst
FROM serving.session_features WHERE status = 'active' AND realtime_committed_at >= %s
"""
_USERS = """
SELECT user_id, readings_closed, realtime_avg_completion_rate, realtime_exit_rate, user_avg_completion_rate,
    user_exit_rate, favourite_genre
FROM serving.user_features WHERE marts_cut_id IS NOT NULL ORDER BY realtime_committed_at DESC, user_id LIMIT 5
"""
_EPISODES = """
SELECT episode_id, title, genre, episode_avg_rating, episode_avg_scroll_ratio, episode_avg_completion_rate,
    episode_exit_rate, current_popularity_rank
FROM serving.episode_features ORDER BY current_popularity_rank NULLS LAST LIMIT 5
"""


class Summary:
    """Prints; `faults` collects what does not add up."""

    def __init__(self, context: Context, api: AirflowApi, stores: Stores, outcome: Outcome) -> None:
        self.context = context
        self.api = api
        self.stores = stores
        self.outcome = outcome
        self.console = Console(highlight=False, width=None if Console().is_terminal else 150)
        self.faults: list[str] = []

    def show(self) -> list[str]:
        """Print everything; returns the faults found, none where all is well."""
        self._show_runs()
        self._show_gates()
        self._show_stores()
        self._show_samples()
        self._show_freshness()
        self._show_slack()
        self._show_addresses()
        return self.faults

    def _table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold", expand=False)
        for number, column in enumerate(columns):
            is_number = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
            table.add_column(column, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_shown(value) for value in row))
        self.console.print()
        self.console.print(table)

    def _show_runs(self) -> None:
        rows = []
        for dag_id in all_dags():
            for run in reversed(self.api.runs(dag_id)):
                if run["start_date"] is None or _time(run["start_date"]) < self.outcome.started_at:
                    continue
                counts = Counter(self.api.task_states(dag_id, run["dag_run_id"]).values())
                tasks = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
                rows.append((run["start_date"], dag_id, run["run_type"], run["state"], _seconds(run), tasks))
        rows.sort(key=lambda row: str(row[0]))
        self._table("DAG runs", ("DAG", "started by", "state", "seconds", "tasks"), [row[1:] for row in rows])

    def _show_gates(self) -> None:
        gates = self.stores.rows(_GATES, self.outcome.started_at)
        self._table(
            "Gates",
            ("gate", "checks", "verdict", "failed"),
            [(gate["gate"], gate["checks"], _verdict(gate), gate["failed"] or "-") for gate in gates],
        )
        if not any(gate["blocking"] for gate in gates):
            self.faults.append("no gate has blocked anything, but the corrupted slice must be")
        blocked = self.outcome.corrupted_tasks or {}
        states = ", ".join(f"{task} {state}" for task, state in blocked.items())
        self.console.print(f"Tasks of the corrupted run {self.outcome.corrupted_run}: {states}")

    def _show_stores(self) -> None:
        produced = self.stores.produced()
        [slices] = self.stores.rows(_SLICES)
        hive = self.stores.hive_counts(HIVE_TABLES)
        rows: list[tuple[str, str, int]] = [("Kafka", Topic.EVENTS, produced)]
        rows += [("PostgreSQL", table, self._count(table)) for table in POSTGRES_TABLES]
        rows += [("Hive", f"{Hive.DATABASE}.{table}", count) for table, count in hive.items()]
        self._table("Rows, store by store", ("store", "table", "rows"), rows)
        accounted = int(slices["archived"] + slices["quarantined"] + slices["dead_letters"])
        self.console.print(
            f"Accounting: {produced} produced = {slices['archived']} archived + {slices['quarantined']} quarantined"
            f" + {slices['dead_letters']} dead letters"
        )
        self._check(
            produced == slices["produced"] == accounted,
            "produced is not archived + quarantined + dead letters",
        )
        for table, name in (
            (Hive.RAW_EVENTS, "archived"), (Hive.QUARANTINED_EVENTS, "quarantined"), (Hive.DEAD_LETTERS, "dead_letters"),
        ):  # fmt: skip
            self._check(
                hive[table] == slices[name],
                f"Hive {table} has {hive[table]} rows, the slices say {slices[name]}",
            )
        final = int(self.stores.value(f"SELECT count(*) FROM {Pg.SESSION_FEATURES} WHERE is_final") or 0)
        self._check(
            0 < hive[Hive.SESSION_FEATURES] <= final,
            f"Hive session_features does not fit {final} final readings",
        )

    def _show_samples(self) -> None:
        for title, query in (
            ("Reader features (serving.user_features)", _USERS), ("Episode features (serving.episode_features)", _EPISODES),
        ):  # fmt: skip
            rows = self.stores.rows(query)
            self._check(len(rows) == 5, f"{title}: {len(rows)} rows where 5 samples were wanted")
            if rows:
                self._table(title, list(rows[0]), [list(row.values()) for row in rows])

    def _show_freshness(self) -> None:
        [row] = self.stores.rows(_FRESHNESS, self.outcome.started_at)
        self._check(row["readings"] > 0, "no served row was committed in this demo")
        if row["readings"]:
            self.console.print(
                f"\nFreshness of {row['readings']} served readings, Kafka timestamp of the newest event to commit: "
                f"p50 {row['p50']:.2f} s, p95 {row['p95']:.2f} s, worst {row['worst']:.2f} s "
                f"(events came as fast as the simulator could send them)"
            )

    def _show_slack(self) -> None:
        self.console.print("\nWhat Slack was told of the corrupted slice:", style="bold")
        self.console.print(Text(self.outcome.slack_message))

    def _show_addresses(self) -> None:
        address = self.context.ports.address
        self._table(
            "Open",
            ("what", "address"),
            [
                ("Airflow (user admin)", f"http://{address('airflow')}"),
                ("its password", str(self.context.paths.secrets / "airflow_admin")),
                ("data docs of the gates", f"http://{address('docs')}/gx/"),
                ("dbt docs", f"http://{address('docs')}/dbt/"),
                ("messages to Slack", f"http://{address('slack')}/"),
                ("metrics of Airflow and the stream", f"http://{address('metrics')}/metrics"),
                ("shell with all addresses", f"source {self.context.paths.env_file}"),
            ],
        )

    def _count(self, table: str) -> int:
        return int(self.stores.value(f"SELECT count(*) FROM {table}") or 0)

    def _check(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


def _shown(value: Any) -> Text:
    """A cell; `Text` so that no value is taken for markup."""
    if value is None:
        return Text("-")
    if isinstance(value, float):
        return Text(f"{value:.3f}")
    return Text(str(value))


def _verdict(gate: dict[str, Any]) -> str:
    if gate["blocking"]:
        return f"blocks ({gate['blocking']})"
    return f"passes, {gate['warnings']} warning(s)" if gate["warnings"] else "passes"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _seconds(run: dict[str, Any]) -> str:
    if run["end_date"] is None:
        return "running"
    return f"{(_time(run['end_date']) - _time(run['start_date'])).total_seconds():.0f}"
