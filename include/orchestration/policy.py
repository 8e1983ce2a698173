"""What every DAG has in common: owner, tags, retries, alerts and deadline. `tests/dags` holds DAGs to it."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from include.orchestration.alerts import dag_failure_callback, failure_callback
from include.orchestration.deadlines import deadline_alert

OWNER = "feature-store"
START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
"""Static; with catchup off it only has to lie in the past."""
MAX_TASK_TIME = timedelta(hours=1)
"""A task that takes longer hangs: it is ended and retried. Overridden where a task is meant to run longer."""


class Domain(StrEnum):
    """First tag of a DAG, and the first part of its id."""

    EVENTS = "events"
    FEATURES = "features"
    OPS = "ops"
    PRIVACY = "privacy"
    QUALITY = "quality"
    REFERENCE = "reference"
    REPORT = "report"
    SIMULATE = "simulate"
    STREAM = "stream"


class Tier(StrEnum):
    """Second tag: how much it matters when the DAG does not run."""

    CRITICAL = "tier-critical"
    """Served features are wrong or stale within minutes."""
    HIGH = "tier-high"
    """History or batch readers fall behind; served features stay right."""
    MEDIUM = "tier-medium"
    """Somebody must look within the day."""
    LOW = "tier-low"
    """Run by hand, or a tool for testing."""


def default_args(
    owner: str = OWNER, retries: int = 2, retry_delay: timedelta = timedelta(seconds=30)
) -> dict[str, Any]:
    """Arguments of every task: `retries` with exponential back-off, a time limit, an alert on failure."""
    return {
        "owner": owner,
        "retries": retries,
        "retry_delay": retry_delay,
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
        "execution_timeout": MAX_TASK_TIME,
        "on_failure_callback": failure_callback,
    }


def dag_policy(
    domain: Domain,
    tier: Tier,
    deadline_after: timedelta | None,
    *,
    owner: str = OWNER,
    retries: int = 2,
) -> dict[str, Any]:
    """Keyword arguments for `@dag`.

    `deadline_after` counts from when a run is queued (asset-triggered runs have no logical date); None only
    for DAGs that are run by hand or never end.
    """
    return {
        "tags": [domain.value, tier.value],
        "default_args": default_args(owner, retries),
        "catchup": False,
        "max_active_runs": 1,
        "on_failure_callback": dag_failure_callback,
        "deadline": None if deadline_after is None else deadline_alert(deadline_after),
    }
