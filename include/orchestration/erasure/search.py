"""The search that proves an erasure: every store, byte by byte, and a row of `ops.erasure_searches` for each.

A store that cannot be looked through is a failure; one that a deployment has no access to (Airflow's database and logs
where somebody else runs Airflow) is named in WEBTOON_ERASURE_NOT_SEARCHED by a person, and stands in the record as not
searched.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import psycopg

from include.common.erasure.checkpoint_search import UnreadableError, state_needle, unpacked
from include.common.erasure.needles import Needles
from include.common.hive.metastore import MetastoreError, open_metastore
from include.common.names import Pg
from include.common.postgres import PostgresUnreachableError
from include.orchestration.erasure.finding import Finding, FoundError, NotSearchedError, Progress
from include.orchestration.erasure.search_files import search_files
from include.orchestration.erasure.search_kafka import search_topic
from include.orchestration.erasure.search_postgres import search_database

log = logging.getLogger(__name__)

_Place = TypeVar("_Place")

FEATURES, AIRFLOW, METASTORE = "feature database", "airflow database", "metastore"
DATA, CHECKPOINTS, DOCS = "data folder", "checkpoints", "docs folder"
LINEAGE, LOGS, STATE, KAFKA = "lineage", "airflow logs", "stack folder", "kafka"
NOT_SEARCHED_VARIABLE: Final = "WEBTOON_ERASURE_NOT_SEARCHED"
_OF_SERVERS: Final = ("postgres", "kafka", "tmp/spark", "tmp/spark-warehouse")
"""Below a native stack's folder: what a server keeps is asked of the server; Spark's scratch goes with its driver, and one
that has run since the erasure has read nothing that the topic does not hold."""
MENDS: Final = {
    FEATURES: "clear the task of the table's writer",
    AIRFLOW: "clear erase_from_airflow; rows of `log` and notes by hand (runbook)",
    METASTORE: "no code writes ids there: look who did",
    DATA: "clear the task of the folder's writer",
    CHECKPOINTS: "let the stream write a newer snapshot, then clear",
    DOCS: "clear erase_from_pages",
    LINEAGE: "remove the file; it is kept for a week only",
    LOGS: "clear erase_from_airflow",
    STATE: "remove the file, or the lines; see which program wrote them",
    KAFKA: "wait for the topic's retention; see that nobody sends events of the reader any more",
}  # fmt: skip
"""What to do about a find, by store."""


@dataclass(frozen=True)
class Places:
    """Where the stores are. `state_dir`: a native stack's own folder, None elsewhere. Passwords inside: never log it."""

    features_dsn: str
    airflow_dsn: str | None
    metastore_uri: str
    data_dir: Path
    docs_dir: Path | None
    logs_dir: Path | None
    lineage_dir: Path | None
    state_dir: Path | None
    kafka: Mapping[str, str]
    topic: str


def search_stores(places: Places, user_id: str, accepted: Sequence[str]) -> list[Finding]:
    """Findings of every store but Kafka. Raises NotSearchedError after all of them, for those it could not look through.

    `accepted`: stores that a person has said cannot be searched.
    """
    unknown = set(accepted) - set(MENDS)
    if unknown:
        raise NotSearchedError(
            f"{NOT_SEARCHED_VARIABLE} names {sorted(unknown)}; the stores are {sorted(MENDS)}"
        )
    needles = Needles(user_id)
    searches: dict[str, Callable[[Finding], None]] = {
        FEATURES: lambda it: search_database(it, places.features_dsn, needles),
        AIRFLOW: lambda it: search_database(it, _given(places.airflow_dsn, it, _NO_DATABASE), needles),
        METASTORE: lambda it: _search_metastore(it, places.metastore_uri, needles),
        DATA: lambda it: search_files(
            it, places.data_dir, needles, skip=lambda path: path == places.data_dir / "checkpoints"
        ),
        CHECKPOINTS: lambda it: _search_checkpoints(it, places.data_dir / "checkpoints", user_id, needles),
        DOCS: lambda it: search_files(it, _given(places.docs_dir, it, "set WEBTOON_DOCS_DIR"), needles),
        LINEAGE: lambda it: _search_lineage(it, places.lineage_dir, needles),
        LOGS: lambda it: search_files(it, _given(places.logs_dir, it, _NO_LOGS), needles),
    }
    if places.state_dir is not None:
        searches[STATE] = lambda it: _search_state(it, places, needles)
    findings, failures = [], []
    for store, look in searches.items():
        finding = Finding(store)
        if store in accepted:
            log.warning("%s is not searched: %s says so", store, NOT_SEARCHED_VARIABLE)
            finding.places.append(f"not searched: {NOT_SEARCHED_VARIABLE}")
            findings.append(finding)
            continue
        try:
            look(finding)
        except (NotSearchedError, PostgresUnreachableError, MetastoreError) as error:
            failures.append(str(error))
            continue
        log.info("%s: found %d in %.1f MB", store, finding.found, finding.bytes / 1e6)
        findings.append(finding)
    if failures:
        raise NotSearchedError("; ".join(failures))
    return findings


def search_kafka(places: Places, user_id: str) -> tuple[Finding, datetime | None]:
    """What the topic holds of the reader, and the Kafka time of the newest of it. Raises NotSearchedError."""
    finding = Finding(KAFKA)
    newest = search_topic(finding, places.kafka, places.topic, Needles(user_id))
    return finding, newest


def record_findings(connection: psycopg.Connection, erasure_id: int, findings: Sequence[Finding]) -> None:
    """Append what was found to `ops.erasure_searches`."""
    for finding in findings:
        connection.execute(
            f"INSERT INTO {Pg.ERASURE_SEARCHES} (erasure_id, store, found, bytes, places)"  # noqa: S608  a constant
            " VALUES (%s, %s, %s, %s, %s)",
            (erasure_id, finding.store, finding.found, finding.bytes, finding.places),
        )


def require_nothing(erasure_id: int, findings: Sequence[Finding]) -> None:
    """Raise FoundError, with stores, places and mends, where something was found."""
    found = [finding for finding in findings if finding.found]
    if found:
        told = "; ".join(
            f"{finding.store}: {', '.join(finding.places[:5])} ({MENDS[finding.store]})" for finding in found
        )
        raise FoundError(f"the reader of erasure {erasure_id} still stands in {told}")


def lineage_folder(transport: str) -> Path | None:
    """Folder of the files that `[openlineage] transport` writes; None for one that writes none."""
    try:
        path = json.loads(transport or "{}").get("log_file_path")
    except (ValueError, AttributeError):
        return None
    return Path(path).parent if path else None


def stores_not_searched() -> list[str]:
    """Stores in WEBTOON_ERASURE_NOT_SEARCHED, comma-separated."""
    return [name.strip() for name in os.environ.get(NOT_SEARCHED_VARIABLE, "").split(",") if name.strip()]


_NO_DATABASE: Final = (
    f"set connection airflow_metadata, a role that may read Airflow's tables; where nobody has access, name it in "
    f"{NOT_SEARCHED_VARIABLE}"
)
_NO_LOGS: Final = f"task logs are kept elsewhere ([logging] remote_logging): search them there, and name it in {NOT_SEARCHED_VARIABLE}"


def _given(value: _Place | None, finding: Finding, mend: str) -> _Place:
    if value is None:
        raise NotSearchedError(f"{finding.store}: this task does not know where it is: {mend}")
    return value


def _search_metastore(finding: Finding, uri: str, needles: Needles) -> None:
    """Tables and partitions, as the metastore's clients get them."""
    with open_metastore(uri) as metastore:
        for table, text in metastore.descriptions():
            finding.bytes += len(text)
            finding.add(table, needles.count(text.encode(errors="replace")))


def _search_checkpoints(finding: Finding, folder: Path, user_id: str, needles: Needles) -> None:
    """The stream's state, unpacked: the id as the state holds it, and in plain."""
    if not folder.is_dir() and folder.parent.is_dir():
        return  # no stream has run yet
    in_state, progress = state_needle(user_id), Progress(finding)
    for path in sorted(folder.rglob("*")):
        shown = str(path.relative_to(folder))
        try:
            pieces = unpacked(path.read_bytes()) if path.is_file() else ()
            for piece in pieces:
                finding.bytes += len(piece)
                finding.add(shown, max(piece.count(in_state), needles.count(piece)))
        except FileNotFoundError:  # Spark removes old versions meanwhile
            continue
        except UnreadableError as error:
            raise NotSearchedError(
                f"{finding.store}: {shown} cannot be unpacked ({error}): a newer snapshot replaces it; let the stream run, "
                f"then clear this task"
            ) from None
        progress.say(shown)


def _search_lineage(finding: Finding, folder: Path | None, needles: Needles) -> None:
    if folder is None:
        finding.places.append("not in files: events go elsewhere; they hold names of tables and counts")
        return
    if folder.is_dir():  # made with the first event
        search_files(finding, folder, needles)


def _search_state(finding: Finding, places: Places, needles: Needles) -> None:
    """What else a native stack keeps: logs of its services, messages of the stand-in for Slack, temporary files."""
    assert places.state_dir is not None
    elsewhere = {places.data_dir, places.docs_dir, places.logs_dir, places.lineage_dir}
    elsewhere |= {places.state_dir / name for name in _OF_SERVERS}
    search_files(finding, places.state_dir, needles, skip=elsewhere.__contains__)
