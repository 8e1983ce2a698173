"""The same sessions in Quix Streams: one process of its consumer group. Started by `make bench-stream`.

Keyed state in RocksDB with a changelog topic, at-least-once (its default; the upsert makes a repeat harmless),
PostgreSQL sink flushed at every checkpoint. Ends when PARTITIONS partitions are at their ends.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application, State, message_context

from benchmarks.quix_sessions.sink import as_removed, as_row, build_sink
from benchmarks.quix_sessions.state import advance
from include.contract.event import ContractError, accept_record

_BARRIER_S = 60.0


class Progress:
    """When the first record came, and which partitions are at their ends."""

    def __init__(self, ends: dict[int, int], wanted: int) -> None:
        self._ends = ends
        self._wanted = wanted
        self._done: set[int] = set()
        self.app: Application | None = None
        self.first_at: float | None = None
        self.records = 0

    def note(self, topic: str, partition: int, offset: int) -> None:
        """Called after every record."""
        self.records += 1
        if offset + 1 == self._ends[partition]:
            self._done.add(partition)
            if len(self._done) == self._wanted and self.app is not None:
                self.app.stop()  # commits what is open


def build(arguments: argparse.Namespace, progress: Progress) -> Application:
    """The application: topic -> rows by key -> sink."""
    app = Application(
        arguments.bootstrap,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        commit_interval=arguments.commit_interval,
        state_dir=arguments.state_dir,
        on_message_processed=progress.note,
        consumer_extra_config={
            # static membership: a process that ends moves no partitions (and their state) to the others
            "group.instance.id": f"{arguments.group}-{arguments.member}",
            "session.timeout.ms": 120_000,
        },
        loglevel="WARNING",
    )
    topic = app.topic(arguments.topic, key_deserializer="bytes", value_deserializer="bytes")

    def take(value: bytes, key: bytes, kafka_ms: int, headers: Any, state: State) -> list[dict[str, Any]]:
        if progress.first_at is None:
            progress.first_at = time.time()
        try:
            event = accept_record(key, value, kafka_ms)
        except ContractError:
            return []
        context = message_context()
        step = advance(state.get_bytes("session"), event, context.partition, context.offset, kafka_ms)
        if step is None:
            return []
        encoded, upserts, deletes = step
        state.set_bytes("session", encoded)
        return [*map(as_removed, deletes), *map(as_row, upserts)]

    sink = build_sink(
        os.environ["PGHOST"], int(os.environ["PGPORT"]), os.environ["PGDATABASE"], os.environ["PGUSER"],
        os.environ["PGPASSWORD"],
    )  # fmt: skip
    app.dataframe(topic).apply(take, stateful=True, metadata=True, expand=True).sink(sink)
    return app


def _await_others(folder: Path, member: int, members: int) -> None:
    """So that the group is complete from its first assignment on."""
    (folder / f"ready-{member}").touch()
    deadline = time.monotonic() + _BARRIER_S
    while len(list(folder.glob("ready-*"))) < members:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the other processes are not ready after {_BARRIER_S:.0f} s")
        time.sleep(0.01)


def main() -> int:
    """Run to the topic's end; writes member-N.json into --folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--bootstrap", required=True)
    add("--topic", required=True)
    add("--group", required=True)
    add("--ends", type=json.loads, required=True, help="JSON: partition -> next offset")
    add("--member", type=int, required=True)
    add("--members", type=int, required=True)
    add("--commit-interval", type=float, required=True)
    add("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.state_dir = arguments.folder / f"state-{arguments.member}"
    ends = {int(partition): end for partition, end in arguments.ends.items()}
    progress = Progress(ends, len(ends) // arguments.members)
    app = progress.app = build(arguments, progress)
    _await_others(arguments.folder, arguments.member, arguments.members)
    app.run()
    report = {"first_at": progress.first_at, "records": progress.records, "ended_at": time.time()}
    (arguments.folder / f"member-{arguments.member}.json").write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
