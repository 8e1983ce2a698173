"""The producer of the freshness benchmark: a process of its own that sends by the clock, not by confirmations.

A record's Kafka timestamp is the time at which it was due, so a producer that falls behind makes freshness worse,
not better. Prints one JSON line: `records`, and how late the client was handed them, in ms.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.live_events import Timed, read_live
from include.simulator.producer import producer_config

_NAP_S = 0.002


class OpenLoop:
    """Sends records at their due time."""

    def __init__(self, bootstrap: str, topic: str, start_ms: int) -> None:
        from confluent_kafka import Producer

        self._topic = topic
        self._start_ms = start_ms
        self._failed: list[str] = []
        self._producer = Producer(
            producer_config({"bootstrap.servers": bootstrap}) | {"on_delivery": self._on_failure}
        )
        self.behind_ms: list[int] = []
        """The worst of each second."""

    def send(self, chunk: list[Timed]) -> None:
        """Send one second's records, and note how late the worst of them was handed over."""
        worst_ms = 0.0
        for record in chunk:
            due_ms = self._start_ms + record.due_ms
            while (now_ms := time.time() * 1000) < due_ms:
                self._producer.poll(0)
                time.sleep(min(_NAP_S, max(0.0, (due_ms - now_ms) / 1000)))
            self._hand_over(record, due_ms)
            worst_ms = max(worst_ms, time.time() * 1000 - due_ms)
        self.behind_ms.append(round(worst_ms))

    def finish(self) -> None:
        """Wait for the confirmations; raises RuntimeError where records were refused."""
        left = self._producer.flush(60)
        if left or self._failed:
            raise RuntimeError(
                f"{left} records not confirmed, {len(self._failed)} refused: {self._failed[:3]}"
            )

    def _hand_over(self, record: Timed, due_ms: int) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, record.value(self._start_ms), record.key, timestamp=due_ms
                )
            except BufferError:
                self._producer.poll(0.01)
            else:
                return

    def _on_failure(self, error: object, message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


def main() -> int:
    """Play one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--start-ms", type=int, required=True, help="epoch ms")
    arguments = parser.parse_args()
    loop = OpenLoop(arguments.bootstrap, arguments.topic, arguments.start_ms)
    count = 0
    for chunk in read_live(arguments.file):
        loop.send(chunk)
        count += len(chunk)
    loop.finish()
    print(json.dumps({"records": count, "behind_ms_max": max(loop.behind_ms, default=0)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
