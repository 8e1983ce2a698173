"""The form and the task of ops__trace_value: a trace for people without a shell, as a page of the docs folder."""

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, Final

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from include.common.settings import Settings, docs_root
from include.orchestration.job_environment import (
    data_dir,
    erasure_key,
    events_topic,
    features_dsn,
    kafka_client_config,
    metastore_uri,
)

log = logging.getLogger(__name__)

KEEP_PAGES_S: Final = 7 * 24 * 3600
PARAMS: Final = {
    "traced_value": Param(
        "marts.user_features/u42/user_exit_rate", type="string", minLength=3, maxLength=500, title="Value",
        description="<table>/<key>/...[/<column>]: realtime.session_features/<session_id>/<session_start_ms>/"
        "<episode_id>, marts.episode_features/<episode_id>, hive.user_features_daily/<dt>/<user_id>, "
        "hive.dead_letters/<topic>/<partition>/<offset> and others: docs/runbooks/ops_trace_value.md has all. Ids that "
        "you type stand in the page, no others do",
    ),
    "limit": Param(
        20, type="integer", minimum=1, maximum=1000, title="Readings",
        description="The most that are listed and followed to their events",
    ),
}  # fmt: skip
"""The trigger form."""


def trace_value(*, value: str, limit: int, run_id: str) -> str | None:
    """Trace, write the page and the log; returns the page's place in the docs folder, None where there is none.

    A value that differs from what was recomputed is told in page and log, and is no failure of this task. What cannot
    be traced is; the reason stands in the log. Of the ids that were typed only the page knows: a task's log is copied to
    places where nobody can take a reader out of it.
    """
    from include.trace.__main__ import ERRORS
    from include.trace.address import AddressError, parse_address
    from include.trace.run import trace_with
    from include.trace.show import as_page, as_text

    try:
        chain = trace_with(
            _settings(),
            parse_address(value),
            limit=int(limit),
            kafka=kafka_client_config(),
            key=erasure_key(),
        )
    except (AddressError, *ERRORS) as error:
        log.error("%s", _without_ids(str(error), value))  # noqa: TRY400  a person's mistake: its message is enough
        raise AirflowFailException("the value cannot be traced: this task's log says why") from None
    log.log(logging.ERROR if chain.differs else logging.INFO, "\n%s", _without_ids(as_text(chain), value))
    root = docs_root()
    return None if root is None else str(write_page(root, run_id, as_page(chain)).relative_to(root))


def _without_ids(text: str, value: str) -> str:
    """`text` without the keys of the row that `value` names."""
    for part in sorted(value.split("/")[1:], key=len, reverse=True):
        if len(part) > 1:
            text = text.replace(part, "…")
    return text


def write_page(root: Path, run_id: str, page: str) -> Path:
    """Write `<root>/trace/<hash of the run's id>.html`; pages of more than a week ago go."""
    folder = root / "trace"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        if old.stat().st_mtime < time.time() - KEEP_PAGES_S:
            old.unlink(missing_ok=True)
    path = folder / f"{hashlib.sha256(run_id.encode()).hexdigest()[:16]}.html"
    half_written = path.with_suffix(".tmp")
    half_written.write_text(page)
    half_written.replace(path)
    log.info("page: %s", path)
    return path


def _settings() -> Settings:
    config: dict[str, Any] = kafka_client_config()
    return Settings(config["bootstrap.servers"], features_dsn(), metastore_uri(), data_dir(), events_topic())
