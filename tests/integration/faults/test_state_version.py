"""A checkpoint of an older release: this one refuses it, says what to do, and leaves it as it was for the older one.

The older release is this one with a lower version of the session state.
"""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from include.contract.encoded_session import STATE_VERSION
from include.spark_jobs.stream_sessionize.bucket_log import LAYOUT_VERSION
from tests.integration.faults import checks
from tests.integration.faults.streams import PARTITIONS, Servers
from tests.integration.stream_support import PROJECT_ROOT, StreamJob, busy_topic, produce

SIZE = 3_000
NOTE = "state_version.json"
OPERATOR_OF_LAYOUT = {
    2: "transformWithStateInPandasExec",
    3: "transformWithStateInPySparkExec",
    4: "transformWithStateInPySparkExec",
}
"""Spark writes its operator's name into a checkpoint and refuses another: a new one needs a new LAYOUT_VERSION."""
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Upgrade:
    """One stream's stores, seen by two releases."""

    older: StreamJob
    ours: StreamJob

    def store(self) -> list[object]:
        """Everything that a refused start must leave alone."""
        return [checks.counts(self.ours.dsn), *(checks.rows(self.ours.dsn, table) for table in checks.STORED)]

    def refused(self) -> str:
        """What this release says when it finds the older one's checkpoint."""
        before, said = self.store(), len(self.ours.log.read_text())
        with self.ours.running("--stop-when-caught-up") as process:
            assert process.wait(120) == 1, self.ours.log.read_text()[-3000:]
        assert self.store() == before
        return self.ours.log.read_text()[said:]


def operators(checkpoint: Path) -> set[str]:
    """Names of the stateful operators in a checkpoint: a line with a version, then JSON, a file a change."""
    files = [file for file in (checkpoint / "state" / "0" / "_metadata").rglob("*") if file.is_file()]
    found = {
        name
        for file in files
        for name in re.findall(r'"operatorName":"(\w+)"', file.read_text(errors="replace"))
    }
    assert found, f"no operator in {files}"
    return found


def lowered(folder: Path) -> Path:
    """A copy of the project's code whose session state is of the version before."""
    copied = folder / "older-release"
    shutil.copytree(
        PROJECT_ROOT / "include", copied / "include", ignore=shutil.ignore_patterns("__pycache__", "dbt")
    )
    module = copied / "include" / "contract" / "encoded_session.py"
    text, replaced = re.subn(
        rf"(?m)^STATE_VERSION: Final = {STATE_VERSION}$",
        f"STATE_VERSION: Final = {STATE_VERSION - 1}",
        module.read_text(),
    )
    assert replaced == 1
    module.write_text(text)
    return copied


def test_an_older_checkpoint_is_refused_and_left_to_the_older_release(
    servers: Servers, spark_jars: str
) -> None:
    topic, records = servers.topic(), busy_topic(8, SIZE, PARTITIONS)
    ours = servers.job(spark_jars, topic)
    root = lowered(ours.data_dir)
    older = replace(
        ours,
        script=root / "include" / "spark_jobs" / "stream_sessionize" / "job.py",
        prefix=("env", f"--chdir={root}"),  # Spark's Python workers import from where they are
        overrides={"PYTHONPATH": str(root)},
    )
    upgrade = Upgrade(older, ours)
    first = [record for record in records if record.offset < SIZE // PARTITIONS // 2]
    produce(servers.kafka, topic, first)
    older.catch_up()
    assert operators(ours.checkpoint) == {OPERATOR_OF_LAYOUT[LAYOUT_VERSION]}
    rest = [record for record in records if record.offset >= SIZE // PARTITIONS // 2]
    produce(servers.kafka, topic, rest)

    said = upgrade.refused()
    assert (
        f"was written by another release (bucket_log {LAYOUT_VERSION}, session_state {STATE_VERSION - 1}; this one reads"
        f" bucket_log {LAYOUT_VERSION}, session_state {STATE_VERSION}): go back to that release, or roll out"
        in said
    )
    assert "Traceback" not in said
    assert "MicroBatchExecution" not in said, "it started the query first"

    # a note that does not belong to the state: the workers notice
    note = ours.checkpoint / NOTE
    true_note = note.read_text()
    note.write_text(
        true_note.replace(f'"session_state": {STATE_VERSION - 1}', f'"session_state": {STATE_VERSION}')
    )
    assert note.read_text() != true_note
    said = upgrade.refused()
    assert "MicroBatchExecution" in said
    last = said.splitlines()[-1]
    assert last.startswith("stream_sessionize: ")
    assert f"session state has version {STATE_VERSION - 1}, this code reads {STATE_VERSION}: roll out" in last
    note.write_text(true_note)

    older.catch_up()
    checks.keep_events(ours.dsn, records)
    result = checks.assert_as_recomputed(ours.dsn)
    assert result.counts["events"] > SIZE * 0.9
