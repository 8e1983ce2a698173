"""The main job, step by step: events flow through Kafka, the DAGs do the work, one corrupted slice is blocked.

May be interrupted anywhere and run again, and run again on a running stack: each step looks at what is there.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.common.names import Dag, Pg
from local_stack.demo.clock import Clock
from local_stack.demo.runs import Runs
from local_stack.demo.stores import Stores
from local_stack.errors import StackError
from local_stack.slack_receiver import as_text, read_messages

STEPS = 9
FIRST_HOURS = 6.0
LEAST_HOURS = 90 / 3600
EVENTS, FEW_EVENTS = 40_000, 3_000
HEARTBEAT_AGE_S = 5.0
UNKNOWN_EPISODE_SHARE = 0.4
"""Of the corrupted slice: far above what the raw gate lets pass (1 %)."""
GATE_MESSAGE = "gate raw_events blocks"


@dataclass
class Outcome:
    """What the summary tells of, beside what the stores hold."""

    started_at: datetime
    corrupted_run: str = ""
    corrupted_tasks: Mapping[str, str] | None = None
    slack_message: str = ""


class Demo:
    """The steps; call `run`."""

    def __init__(self, runs: Runs, stores: Stores, slack_file: Path, clock: Clock) -> None:
        self.runs = runs
        self.stores = stores
        self.slack_file = slack_file
        self.clock = clock
        self.outcome = Outcome(datetime.now(UTC))

    def run(self) -> Outcome:
        """All steps; raises StackError where one does not come out as it must."""
        self.clock.step("wait until Airflow has parsed the DAGs", 15)
        self.runs.api.wait_for_dags(set(all_dags()), timeout_s=120)

        self.clock.step("make tables and topics, load titles and episodes", 25)
        self.runs.complete(Dag.MIGRATE_STORE, limit_s=180)
        self.runs.complete(Dag.REFERENCE_LOAD, limit_s=180)

        self.clock.step("start the stream; it runs until `make down`", 20)
        self.runs.unpause(Dag.SESSIONIZE, Dag.SEND_TICK, Dag.WATCH_PROGRESS)
        self.clock.wait("the stream's driver", self._stream_runs, limit_s=180)

        self.clock.step("produce events", 25)
        self._archive_leftovers()
        self._produce()

        self.clock.step("archive them in Hive; the stream folds them into features meanwhile", 50)
        self._archive("published")
        self._await_stream()

        self.clock.step("model: gate, dbt, gate, publish; then Hive", 110)
        self._model()

        self.clock.step("a corrupted slice: its gate must block it", 50)
        self._corrupt()

        self.clock.step("the next good slice must pass", 45)
        self._produce(FEW_EVENTS)
        self._archive("published")
        self._await_stream()

        self.clock.step("producer health", 25)
        self.runs.complete(Dag.WATCH_PRODUCERS, limit_s=180)
        return self.outcome

    def _stream_runs(self) -> bool:
        """The driver touches its heartbeat as soon as its query runs, some 15 s after its start."""
        beat = self.stores.data_dir / "drivers" / "sessionize" / "heartbeat"
        return beat.exists() and time.time() - beat.stat().st_mtime < HEARTBEAT_AGE_S

    def _archive_leftovers(self) -> None:
        """What an interrupted demo produced and nobody archived yet: good or not, it goes first."""
        if not self.stores.is_archived(self.stores.ends()):
            self.clock.say("  archiving what an earlier demo left on the topic")
            self._archive(None)

    def _produce(self, events: int | None = None, **trouble: float) -> None:
        """Events of the time since the newest one that the stream knows; of FIRST_HOURS on a fresh topic."""
        age_s = self.stores.newest_event_age_s()
        hours = FIRST_HOURS if age_s is None else min(FIRST_HOURS, max(LEAST_HOURS, age_s / 3600))
        count = events or (EVENTS if hours > 1 else FEW_EVENTS)
        before = self.stores.produced()
        self.runs.complete(
            Dag.PRODUCE_EVENTS, {"events": count, "hours": round(hours, 4), **trouble}, limit_s=300
        )
        self.clock.say(
            f"  {self.stores.produced() - before} records of the last {hours * 60:.0f} min produced"
        )

    def _archive(self, expected: str | None) -> list[dict[str, Any]]:
        """Archive all that is on the topic now; each slice must end as `expected` (None: any way).

        The schedule may be faster than our run: what counts is what became of the offsets.
        """
        ends, before = self.stores.ends(), self.stores.last_slice()
        while not self.stores.is_archived(ends):
            run_id = self.runs.start(Dag.ARCHIVE)
            self.runs.follow(Dag.ARCHIVE, run_id, limit_s=420)
            self._settle()
        slices = self.stores.slices_after(before)
        for piece in slices:
            self.clock.say(f"  slice {piece['slice_id']}: {piece['produced']} records, {piece['status']}")
            if expected is not None and piece["status"] != expected:
                raise StackError(
                    f"slice {piece['slice_id']} is {piece['status']}, not {expected}: see run {piece['run_id']} of "
                    f"{Dag.ARCHIVE} at {self.runs.api.base_url}"
                )
        return slices

    def _settle(self) -> None:
        """Wait for slices of other runs; one whose run died is cleared by nobody here: the wait says so."""
        self.clock.wait(
            "open archive slices",
            lambda: (
                not self.stores.value(
                    f"SELECT count(*) FROM {Pg.ARCHIVE_SLICES} WHERE status IN ('recorded', 'staged')"
                )
            ),
            limit_s=300,
            detail=lambda: f"clear the failed runs of {Dag.ARCHIVE} at {self.runs.api.base_url}",
        )

    def _await_stream(self) -> None:
        ends = self.stores.ends()
        self.clock.wait(
            "the stream to catch up",
            lambda: not self.stores.stream_is_behind(ends),
            limit_s=180,
            detail=lambda: f"{self.stores.stream_is_behind(ends)} records behind",
        )
        self.clock.say("  the stream has committed all of them")

    def _model(self) -> None:
        self.runs.unpause(Dag.PUBLISH_BATCH, Dag.BUILD_DOCS)
        run_id = self.runs.complete(Dag.MODEL, limit_s=420)
        cut = self.stores.value(f"SELECT cut_id FROM {Pg.MODEL_CUTS} WHERE run_id = %s", run_id)
        published = f"SELECT run_id FROM {Pg.PUBLICATIONS} WHERE cut_id >= %s LIMIT 1"
        self.clock.wait(
            f"{Dag.PUBLISH_BATCH}, which the published marts start",
            lambda: self.stores.value(published, cut) is not None,
            limit_s=240,
        )
        state = self.runs.follow(Dag.PUBLISH_BATCH, str(self.stores.value(published, cut)), limit_s=240)
        if state != "success":
            raise StackError(
                f"{Dag.PUBLISH_BATCH} {state}: open {self.runs.api.base_url}/dags/{Dag.PUBLISH_BATCH}"
            )

    def _corrupt(self) -> None:
        told_before = len(self._gate_messages())
        self._produce(FEW_EVENTS, unknown_episode_share=UNKNOWN_EPISODE_SHARE)
        slices = self._archive("quarantined")
        run_id = str(slices[-1]["run_id"])
        tasks = self.runs.api.task_states(Dag.ARCHIVE, run_id)
        if tasks["publish_slice"] not in ("upstream_failed", "skipped"):
            raise StackError(
                f"task publish_slice of the corrupted run {run_id} is {tasks['publish_slice']}: it ran"
            )
        self.clock.wait("its message to Slack", lambda: len(self._gate_messages()) > told_before, limit_s=60)
        self.outcome.corrupted_run, self.outcome.corrupted_tasks = run_id, tasks
        self.outcome.slack_message = self._gate_messages()[-1]

    def _gate_messages(self) -> list[str]:
        texts = (as_text(message["payload"]) for message in read_messages(self.slack_file))
        return [text for text in texts if GATE_MESSAGE in text]


def all_dags() -> list[str]:
    """Ids of the project's DAGs."""
    return [value for name, value in vars(Dag).items() if name.isupper()]
