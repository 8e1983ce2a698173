"""What a fault is, and how a test tells a driver which ones to suffer. Imports nothing of Spark."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

PLAN_VARIABLE = "WEBTOON_TEST_FAULTS"
FILLER = "disk-is-full"
"""Name of the file that fills the checkpoint's disk, beside the generations' folders."""


class Kind(StrEnum):
    """What is struck: kill -9 of a process, or a disk without space."""

    DRIVER = "driver"
    WORKER = "worker"
    POSTGRES = "postgres"
    BROKER = "broker"
    DISK_FULL = "disk_full"


class Phase(StrEnum):
    """Where a micro-batch stands when it is struck."""

    STATE_COMMIT = "state_commit"
    """Some state stores have committed it, others have not."""
    LANDING = "landing_written"
    """Its landing file is on disk, the ledger does not list it; COPY may run beside it."""
    COPY = "mid_copy"
    """PostgreSQL has taken a part of its rows."""
    COMMITTED = "after_commit"
    """PostgreSQL has committed it, Spark has not."""
    BEHIND = "behind_spark"
    """Spark has committed it, PostgreSQL has not."""
    OVERTAKEN = "overtaken"
    """The same, and the state stores have committed the next one."""


@dataclass(frozen=True)
class Fault:
    """Strike `kind` when the driver passes `phase` for the `passes`-th time since its start or its last fault."""

    kind: Kind
    phase: Phase
    passes: int

    def __str__(self) -> str:
        return f"{self.kind}-at-{self.phase}"


@dataclass(frozen=True)
class Hit:
    """A fault that was struck. `detail` is what the driver saw at that moment."""

    kind: Kind
    phase: Phase
    batch_id: int
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Faults in order, where to note that they were struck, and the pids of the servers to kill."""

    faults: Sequence[Fault]
    hits: Path
    pids: dict[str, int]

    def to_env(self) -> dict[str, str]:
        """As an environment variable of the driver."""
        content = {
            "faults": [asdict(fault) for fault in self.faults],
            "hits": str(self.hits),
            "pids": self.pids,
        }
        return {PLAN_VARIABLE: json.dumps(content)}

    @classmethod
    def from_env(cls) -> "Plan":
        """Inverse of `to_env`."""
        content = json.loads(os.environ[PLAN_VARIABLE])
        faults = [Fault(Kind(it["kind"]), Phase(it["phase"]), it["passes"]) for it in content["faults"]]
        return cls(faults, Path(content["hits"]), content["pids"])

    def note(self, hit: Hit) -> None:
        """Append `hit`, durably: the next thing to die may be ourselves."""
        with self.hits.open("a") as file:
            file.write(json.dumps(asdict(hit)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_hits(path: Path) -> list[Hit]:
    """Hits noted so far, oldest first."""
    if not path.exists():
        return []
    lines = map(json.loads, path.read_text().splitlines())
    return [Hit(Kind(it["kind"]), Phase(it["phase"]), it["batch_id"], it["detail"]) for it in lines]
