"""A broker and a PostgreSQL that may be killed, and a topic for streams on them."""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from include.common.migrate import migrate
from include.common.postgres import create_database, with_database
from local_stack import stack
from local_stack.context import Context
from tests.integration.faults.plan import Kind
from tests.integration.faults.poison import Poison, poisoned
from tests.integration.stream_support import StreamJob, busy_topic, produce
from tests.vectors import VectorRecord

PARTITIONS = 3
STATE_PARTITIONS = 4
"""Two waves on two cores: when the first state store has committed, others have not."""
TOPIC_LIMIT_BYTES = 6_000_000
_TEMPLATE = "faults_template"


@dataclass(frozen=True)
class Servers:
    """A stack of this suite alone: no test of another may meet a dead server."""

    context: Context

    @classmethod
    def start(cls, state_dir: Path, say: Callable[[str], None]) -> "Servers":
        """Start broker and PostgreSQL, which keep what they acknowledged; raises StackError."""
        options = stack.Options(state_dir, {"kafka", "postgres"}, ephemeral_ports=True, durable=True)
        servers = cls(stack.up(options, say))
        create_database(servers.context.admin_dsn, _TEMPLATE, owner="webtoon")
        migrate(with_database(servers.context.features_dsn, _TEMPLATE))
        return servers

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return self.context.ports.address("kafka")

    def pids(self) -> dict[str, int]:
        """Pids of the two servers, by the name of the Kind that kills them."""
        pids = {state.name: state.pid for state in stack.status(self.context.paths.root)}
        return {Kind.POSTGRES.value: pids["postgres"], Kind.BROKER.value: pids["kafka"]}

    def await_healthy(self, limit_s: float = 90) -> None:
        """Wait until their supervisor has them running again."""
        deadline = time.monotonic() + limit_s
        while reasons := [
            f"{state.name}: {state.state}, {state.reason}"
            for state in stack.status(self.context.paths.root)
            if state.name in ("postgres", "kafka") and (state.reason or not state.pid)
        ]:
            assert time.monotonic() < deadline, reasons
            time.sleep(0.2)

    def database(self) -> str:
        """DSN of a fresh, migrated database."""
        name = f"features_{uuid.uuid4().hex[:10]}"
        create_database(self.context.admin_dsn, name, owner="webtoon", template=_TEMPLATE)
        return with_database(self.context.features_dsn, name)

    def topic(self, partitions: int = PARTITIONS) -> str:
        """A fresh topic that takes large messages and keeps all."""
        name = f"events_{uuid.uuid4().hex[:10]}"
        config = {"retention.ms": "-1", "max.message.bytes": str(TOPIC_LIMIT_BYTES)}
        admin = AdminClient({"bootstrap.servers": self.kafka})
        made = admin.create_topics([NewTopic(name, partitions, 1, config=config)], operation_timeout=30)
        made[name].result()
        return name

    def folder(self) -> Path:
        """A fresh data folder."""
        folder = self.context.paths.root / "test-data" / uuid.uuid4().hex[:10]
        for name in ("landing", "checkpoints", "staging", "warehouse"):
            (folder / name).mkdir(parents=True)
        return folder

    def job(self, jars: str, topic: str) -> StreamJob:
        """The stream as it is, with stores of its own."""
        ticks = f"ticks_{uuid.uuid4().hex[:8]}"
        return StreamJob(self.context.process_env(), jars, self.database(), self.folder(), topic, ticks)


@dataclass(frozen=True)
class PoisonedTopic:
    """A topic of readers, disorder, repeats and late events, with every poison in every partition."""

    name: str
    records: list[VectorRecord]
    poisons: dict[tuple[int, int], Poison]

    @classmethod
    def fill(cls, servers: Servers, seed: int, size: int) -> "PoisonedTopic":
        """Make it, with `size` records and the poisons."""
        records, poisons = poisoned(random.Random(seed), busy_topic(seed, size, PARTITIONS))
        name = servers.topic()
        assert produce(servers.kafka, name, records) == len(records)
        return cls(name, records, poisons)

    def ends(self) -> dict[str, int]:
        """Next offset by partition."""
        ends = dict.fromkeys(map(str, range(PARTITIONS)), 0)
        for record in self.records:
            ends[str(record.partition)] += 1
        return ends


def arguments(per_batch: int) -> tuple[str, ...]:
    """Of the job: micro-batches of at most `per_batch` records."""
    return "--max-offsets-per-trigger", str(per_batch), "--state-partitions", str(STATE_PARTITIONS)
