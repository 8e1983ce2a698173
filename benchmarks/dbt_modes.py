"""What a dbt model costs as an Airflow task, by Cosmos' execution mode: `python -m benchmarks.dbt_modes`.

A whole native Airflow with two DAGs, the model in mode local and in mode watcher, run in turn on the same change.
"""

import argparse
import json
import os
import sys
from datetime import datetime
from statistics import mean, median
from typing import Any
from urllib.parse import quote

import psycopg

from benchmarks.model_history import HISTORY_ENDS, READINGS_A_BATCH, fill_history
from benchmarks.model_history import add as add_readings
from benchmarks.stack import BenchmarkError, BenchStack, cores, machine, print_json, running_stack, say
from include.common.migrate import migrate
from local_stack import airflow_native
from local_stack.airflow_api import AirflowApi
from local_stack.paths import PROJECT_ROOT

MODES = ("local", "watcher")
HISTORY = 20_000
_BUNDLES = "WEBTOON_OVERRIDE_AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="dbt_modes", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each mode, beside a first one (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the state folder with all logs")
    arguments = parser.parse_args()
    folder = {"path": str(PROJECT_ROOT / "benchmarks" / "airflow_dags")}
    bundle = {
        "name": "bench",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": folder,
    }
    os.environ[_BUNDLES] = json.dumps([bundle])
    try:
        with running_stack("airflow", "slack", keep=arguments.keep) as bench:
            print(f"machine: {machine()}")
            return _report(_measure(bench, arguments.runs))
    except BenchmarkError as error:
        say(f"error: {error}")
        return 1


def _measure(bench: BenchStack, runs: int) -> dict[str, list[list[dict[str, Any]]]]:
    """Mode -> run -> its dbt tasks, without the first run, which rebuilds all."""
    context = bench.context
    api = AirflowApi(
        airflow_native.base_url(context), airflow_native.ADMIN, airflow_native.admin_password(context)
    )
    migrate(context.features_dsn)
    fill_history(context.features_dsn, HISTORY)
    api.wait_for_dags({f"bench__dbt_{mode}" for mode in MODES}, timeout_s=120)
    found: dict[str, list[list[dict[str, Any]]]] = {mode: [] for mode in MODES}
    last = HISTORY
    for number in range(runs + 1):
        for mode in MODES:
            with psycopg.connect(context.features_dsn, autocommit=True) as connection:
                add_readings(connection, last + 1, last + READINGS_A_BATCH, HISTORY_ENDS, HISTORY)
            last += READINGS_A_BATCH
            dag_id = f"bench__dbt_{mode}"
            api.set_paused(dag_id, False)
            run_id = api.trigger(dag_id)
            if (state := api.wait_for_run(dag_id, run_id, timeout_s=300, poll_s=0.5)) != "success":
                raise BenchmarkError(f"{dag_id} is {state}: {api.task_states(dag_id, run_id)}")
            tasks = api.call("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances?limit=100")
            if number:
                found[mode].append(
                    [task for task in tasks["task_instances"] if task["task_id"].startswith("dbt.")]
                )
            say(f"run {number} of {mode} is done")
    return found


def _seconds(task: dict[str, Any], start: str = "start_date") -> float:
    return (datetime.fromisoformat(task["end_date"]) - datetime.fromisoformat(task[start])).total_seconds()


def _report(found: dict[str, list[list[dict[str, Any]]]]) -> int:
    print(f"\n{'':10}{'group s':>10}{'a model s':>11}{'its tests s':>13}{'producer s':>12}{'tasks':>7}")
    result: dict[str, Any] = {"cores": cores()}
    for mode, runs in found.items():
        walls = []
        for tasks in runs:
            ends = [datetime.fromisoformat(task["end_date"]) for task in tasks]
            starts = [datetime.fromisoformat(task["queued_when"] or task["start_date"]) for task in tasks]
            walls.append((max(ends) - min(starts)).total_seconds())
        each = {
            kind: [_seconds(task) for tasks in runs for task in tasks if task["task_id"].endswith(kind)]
            for kind in (".run", ".test", "_watcher")
        }
        producer = median(each["_watcher"]) if each["_watcher"] else 0.0
        row = {
            "group_s": median(walls), "model_s": mean(each[".run"]), "test_s": mean(each[".test"]),
            "producer_s": producer, "tasks": len(runs[0]),
        }  # fmt: skip
        result[mode] = {name: round(value, 2) for name, value in row.items()}
        print(
            f"{mode:10}{row['group_s']:>10.1f}{row['model_s']:>11.2f}{row['test_s']:>13.2f}{producer:>12.1f}{row['tasks']:>7}"
        )
    result["watcher_vs_local"] = round(result["watcher"]["group_s"] / result["local"]["group_s"], 3)
    print_json(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
