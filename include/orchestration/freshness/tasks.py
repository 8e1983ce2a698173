"""Tasks of ops__watch_freshness: measure and record, then tell what has changed."""

import logging
from datetime import UTC, datetime

from include.common.names import Dag
from include.common.postgres import connect
from include.orchestration.alert_text import runbook_of
from include.orchestration.alerts import send_alert
from include.orchestration.freshness import history
from include.orchestration.freshness.judge import judge, missed_lines, news, recovered_lines
from include.orchestration.freshness.measure import measure
from include.orchestration.job_environment import events_topic, features_dsn, kafka_client_config

log = logging.getLogger(__name__)


def record_freshness() -> list[str]:
    """Measure every published table, write ops.freshness; returns the tables that miss their SLO.

    Raises PostgresUnreachableError, KafkaUnreachableError, psycopg.Error.
    """
    dsn = features_dsn()
    at, found = measure(dsn, kafka_client_config(), events_topic())
    with connect(dsn, application_name=Dag.WATCH_FRESHNESS, autocommit=True) as connection:
        slos = history.slos(connection, at)
        before = history.newest_rows(connection)
        rows = [judge(table, slos[table.table], before.get(table.table), at) for table in found]
        history.record(connection, at, rows)
    for row in rows:
        log.info("%s", row)
    return [row.table for row in rows if row.met is False]


def send_changes() -> None:
    """Tell Slack of breaches that it does not know (again after an hour) and of those that have ended.

    What could not be delivered is tried again by the next run.
    """
    runbook = runbook_of(Dag.WATCH_FRESHNESS)
    with connect(features_dsn(), application_name=Dag.WATCH_FRESHNESS, autocommit=True) as connection:
        now = datetime.now(UTC)
        found = news(history.newest_rows(connection).values(), now)
        for verb, rows, lines, told_at in (
            ("missed", found.missed, missed_lines(found.missed, now), now),
            ("kept again", found.recovered, recovered_lines(found.recovered, now), None),
        ):
            title = (
                f"{Dag.WATCH_FRESHNESS}: SLO of {len(rows)} {'table' if len(rows) == 1 else 'tables'} {verb}"
            )
            if rows and send_alert(title, lines, runbook):
                history.mark_told(connection, [row.table for row in rows], told_at)
