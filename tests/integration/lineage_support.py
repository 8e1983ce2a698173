"""OpenLineage events as the stack's transport writes them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Lineage:
    """The events of a stack, newest last."""

    folder: Path

    def events(self) -> list[dict[str, Any]]:
        """All of them; every line is whole."""
        files = sorted(self.folder.glob("events-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def of_job(self, name: str) -> list[dict[str, Any]]:
        """Events of one job: a DAG, a task (`<dag>.<task>`), or a Spark job."""
        return [event for event in self.events() if event["job"]["name"] == name]

    def await_event(self, name: str, state: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The newest such event; awaited, because DAG runs are told by a process of the scheduler's."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = [it for it in self.of_job(name) if it["eventType"] == state and wanted(it)]
            if found:
                return found[-1]
            time.sleep(0.2)
        told = sorted({(event["job"]["name"], event["eventType"]) for event in self.events()})
        pytest.fail(f"no {state} of {name}; there are {told}", pytrace=False)


def names(event: dict[str, Any], side: str) -> set[str]:
    """Names of an event's `inputs` or `outputs`."""
    return {dataset["name"] for dataset in event[side]}
