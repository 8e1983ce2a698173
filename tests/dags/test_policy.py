"""The policy that every DAG keeps: one rule a test, one case a DAG."""

import re
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.deadline import DeadlineReference
from cosmos.constants import PRODUCER_WATCHER_DONE_TASK_ID

from include.common.names import Conn, Dag, Pool
from include.orchestration import policy
from include.orchestration.alert_text import runbook_of
from include.orchestration.alerts import dag_failure_callback, failure_callback
from include.orchestration.connections import CONNECTIONS, POOLS
from include.orchestration.deadlines import CALLBACK
from tests.dags.conftest import ids

NO_RETRY = {
    Dag.WATCH_PRODUCERS: "a failed check is the finding; the next run looks again in five minutes",
    Dag.WATCH_PROGRESS: "a failed check is the finding; the next run looks again in a minute",
}
VERBS = {
    "archive", "ask", "await", "build", "check", "compact", "compare", "create", "decide", "discard", "drop",
    "erase", "file", "find", "fix", "gate", "list", "load", "migrate", "plan", "produce", "prove",
    "publish", "quarantine", "reach", "rebuild", "record", "refresh", "release", "remove", "report",
    "run", "search", "send", "sessionize", "stage", "start", "supervise", "swap", "trace", "verify",
}  # fmt: skip
"""First words of task ids. A new verb is added here by whoever needs it; a noun is not."""
DOC_PARTS = {
    "a title": r"\A### \w",
    "when it runs": r"\b(Every \d+ minutes|Every minute|Every hour|Every day|Runs |Run by hand|Always on)",
    "whether it may run twice": r"\*\*Safe to run twice\*\*",
    "whether to clear or to trigger anew": r"\b[Cc]lear(ing|ed|s)?\b",
}


def is_continuous(dag: DAG) -> bool:
    return type(dag.timetable).__name__ == "ContinuousTimetable"


def callbacks(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def test_id_is_domain_and_verb_noun(dag: DAG) -> None:
    assert re.fullmatch(r"[a-z]+__[a-z]+(_[a-z]+)*", dag.dag_id)
    assert dag.dag_id.split("__")[0] in set(policy.Domain)


def test_tags_are_domain_and_tier(dag: DAG) -> None:
    domain = dag.dag_id.split("__")[0]
    tiers = [tag for tag in dag.tags if tag in set(policy.Tier)]
    assert len(tiers) == 1
    assert dag.tags == {domain, *tiers}


def test_every_task_has_an_owner(dag: DAG) -> None:
    assert {task.task_id: task.owner for task in dag.tasks if task.owner != policy.OWNER} == {}


def test_tasks_are_retried(dag: DAG) -> None:
    if dag.dag_id in NO_RETRY:
        assert {task.retries for task in dag.tasks} == {0}, (
            "it states 0 and has others: drop it from NO_RETRY"
        )
        return
    assert [task.task_id for task in dag.tasks if not task.retries] == []


def test_doc_tells_what_a_person_must_know(dag: DAG) -> None:
    doc = dag.doc_md or ""
    assert [part for part, pattern in DOC_PARTS.items() if not re.search(pattern, doc)] == []
    assert runbook_of(dag.dag_id) in doc, "the doc names its runbook"


def test_runs_are_bounded_and_not_caught_up(dag: DAG) -> None:
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.start_date == policy.START_DATE


def test_deadline_on_what_is_scheduled_and_ends(dag: DAG) -> None:
    deadlines = [deadline for deadline in callbacks(dag.deadline) if deadline is not None]
    by_hand = dag.schedule is None
    if by_hand or is_continuous(dag):
        assert deadlines == []
        return
    (deadline,) = deadlines
    assert deadline.reference == DeadlineReference.DAGRUN_QUEUED_AT, (
        "asset-triggered runs have no logical date"
    )
    assert deadline.callback.path == CALLBACK
    assert deadline.callback.kwargs == {"allowed_s": deadline.interval.total_seconds()}


def test_failure_of_run_and_tasks_is_told(dag: DAG) -> None:
    assert dag_failure_callback in callbacks(dag.on_failure_callback)
    silent = [
        task.task_id for task in dag.tasks if failure_callback not in callbacks(task.on_failure_callback)
    ]
    assert silent == []


def test_runbook_exists(dag: DAG, project_root: Path) -> None:
    """Every DAG alerts when it fails, and every alert names this file."""
    runbook = project_root / "docs" / "runbooks" / f"{runbook_of(dag.dag_id)}.md"
    assert runbook.is_file(), f"write {runbook.relative_to(project_root)}"


def test_task_ids_are_verbs(dag: DAG) -> None:
    names = {
        task.task_id: task.task_id.rsplit(".", 1)[-1]
        for task in dag.tasks
        # Cosmos names its tasks after models, and two by itself
        if not type(task).__module__.startswith("cosmos.")
        and not task.task_id.endswith(PRODUCER_WATCHER_DONE_TASK_ID)
    }
    odd = [
        task_id
        for task_id, name in names.items()
        if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", name) or name.split("_")[0] not in VERBS
    ]
    assert odd == []


def test_tasks_end_in_time(dag: DAG) -> None:
    """A task without a limit can hang for ever; only what never ends by design has none."""
    unlimited = [task.task_id for task in dag.tasks if task.execution_timeout is None]
    assert unlimited == [] or is_continuous(dag)


def test_pools_are_in_the_registry(dag: DAG) -> None:
    known = {spec.name for spec in POOLS} | {"default_pool"}
    assert {task.task_id: task.pool for task in dag.tasks if task.pool not in known} == {}


def test_connections_are_in_the_registry(dag: DAG) -> None:
    known = {spec.conn_id for spec in CONNECTIONS}
    used = {
        (task.task_id, name): value
        for task in dag.tasks
        for name, value in vars(task).items()
        if re.search(r"(^|_)conn_id$|^kafka_config_id$", name) and isinstance(value, str)
    }
    assert {where: conn_id for where, conn_id in used.items() if conn_id not in known} == {}


def test_registry_has_each_name_once() -> None:
    assert sorted(spec.conn_id for spec in CONNECTIONS) == ids(Conn)
    assert sorted(spec.name for spec in POOLS) == ids(Pool)
