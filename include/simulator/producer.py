"""Sends records to the topic: idempotent, every record accounted for, in the order given.

Record timestamps are the present (the broker's retention deletes by them); an event's own time is in its
payload.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from include.common.kafka.offsets import KafkaUnreachableError, Watermarks, watermarks
from include.simulator.traffic import Record

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 64 * 1_048_576
"""Ours; the broker has its own limit, and what it refuses is counted and reported."""
DELIVERY_TIMEOUT_MS: Final = 30_000
"""A record that the broker has not confirmed after this long counts as failed, and the run ends; the connection
may say otherwise."""
STOP_TIMEOUT_S: Final = 3.0
"""What is left for the confirmations when the run is stopped: Airflow kills 5 s after it has asked."""
_LOOK_EVERY = 256
_NAP_S = 0.2
_CONSUMER_ONLY = (
    "group.",
    "auto.",
    "enable.auto.",
    "fetch.",
    "max.poll.",
    "session.",
    "heartbeat.",
    "isolation.",
)


class ProducerError(RuntimeError):
    """Records did not get to the topic; the message says which, why and the mend. `report` has the counts."""

    def __init__(self, message: str, report: "SendReport") -> None:
        super().__init__(message)
        self.report = report


@dataclass
class SendReport:
    """What became of the records so far. handed over = delivered + failed + unconfirmed."""

    topic: str
    handed_over: Counter[str] = field(default_factory=Counter)
    """Kind -> records given to the Kafka client."""
    failed: Counter[str] = field(default_factory=Counter)
    """Kafka's name of the error -> records that were refused or not confirmed in time."""
    unconfirmed: int = 0
    """Records that still wait for the broker."""
    value_bytes: int = 0
    behind_s: float = 0.0
    """Paced runs: how long after its due time the newest record was sent."""
    seconds: float = 0.0
    stopped: bool = False
    """Ended by request, before all records were sent."""
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition -> (its end before, after); others may have written to it meanwhile."""

    @property
    def total(self) -> int:
        """Records given to the Kafka client."""
        return self.handed_over.total()

    @property
    def delivered(self) -> int:
        """Records that the broker has confirmed."""
        return self.total - self.failed.total() - self.unconfirmed

    def as_dict(self) -> dict[str, Any]:
        """For XCom and JSON."""
        return {
            "topic": self.topic,
            "delivered": self.delivered,
            "failed": dict(self.failed),
            "unconfirmed": self.unconfirmed,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "by_kind": dict(sorted(self.handed_over.items())),
            "offsets": {str(partition): list(pair) for partition, pair in self.offsets.items()},
        }


def producer_config(client_config: Mapping[str, str]) -> dict[str, Any]:
    """librdkafka's settings: the connection's (those of consumers left out), and ours over them."""
    shared = {name: value for name, value in client_config.items() if not name.startswith(_CONSUMER_ONLY)}
    return {
        "linger.ms": 10,
        "batch.size": 262_144,
        # a broker's size limit counts compressed bytes
        "compression.type": "lz4",
        "queue.buffering.max.messages": 50_000,
        "queue.buffering.max.kbytes": 131_072,
        "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
        **shared,
        "enable.idempotence": True,
        "acks": "all",
        # what Java producers use: a key is in the same partition whoever sends it
        "partitioner": "murmur2_random",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "delivery.report.only.error": True,
        # what goes wrong is reported by us, once
        "log_level": 0,
    }


class _Sender:
    """One run."""

    def __init__(
        self,
        client_config: Mapping[str, str],
        topic: str,
        on_progress: Callable[[SendReport], None],
        should_stop: Callable[[], bool],
    ) -> None:
        from confluent_kafka import Producer

        self.report = SendReport(topic)
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._last_error = ""
        self._lost = False
        config = producer_config(client_config)
        self._delivery_s = int(config["delivery.timeout.ms"]) / 1000
        self._producer = Producer(config | {"on_delivery": self._on_failure, "error_cb": self._on_error})
        self._started = time.monotonic()

    def run(self, records: Iterable[Record], *, paced: bool) -> None:
        try:
            self._send_all(records, paced)
        except BaseException:
            self._flush(STOP_TIMEOUT_S)  # what was handed over is not lost with what comes after it
            raise
        self._finish()

    def _send_all(self, records: Iterable[Record], paced: bool) -> None:
        for number, record in enumerate(records):
            if number % _LOOK_EVERY == 0 and self._look(0.0):
                break
            if paced and self._wait_until(record.due_ms):
                break
            if self._hand_over(record):
                break

    def _look(self, wait_s: float) -> bool:
        """Serve the client, tell of the progress; true where the run must end."""
        self._producer.poll(wait_s)
        self.report.unconfirmed = len(self._producer)
        self.report.seconds = time.monotonic() - self._started
        self._on_progress(self.report)
        self.report.stopped = self.report.stopped or self._should_stop()
        return self.report.stopped or self._lost

    def _wait_until(self, due_ms: int) -> bool:
        while (ahead_s := due_ms / 1000 - time.time()) > 0:
            if self._look(min(ahead_s, _NAP_S)):
                return True
        self.report.behind_s = -ahead_s
        return False

    def _hand_over(self, record: Record) -> bool:
        from confluent_kafka import KafkaException

        while True:
            try:
                self._producer.produce(self.report.topic, record.value, record.key)
            except BufferError:  # the queue is full: wait for the broker
                if self._look(_NAP_S):
                    return True
            except KafkaException as error:
                self._count_failure(error.args[0])
                break
            else:
                break
        self.report.handed_over[record.kind] += 1
        self.report.value_bytes += len(record.value or b"")
        return False

    def _finish(self) -> None:
        # every record is confirmed or has failed by then
        self._flush(self._delivery_s + 5.0)
        if self.report.failed or self.report.unconfirmed:
            raise ProducerError(self._explain(), self.report)

    def _flush(self, within_s: float) -> None:
        """Wait until the broker has confirmed everything; less long where the run is stopped or the broker gone."""
        started = time.monotonic()
        while len(self._producer):
            ending = self._look(_NAP_S)
            if time.monotonic() - started > (min(within_s, STOP_TIMEOUT_S) if ending else within_s):
                break
        self._look(0.0)

    def _explain(self) -> str:
        report = self.report
        why = ", ".join(f"{count} {name}" for name, count in sorted(report.failed.items()))
        if report.unconfirmed:
            why = f"{why}, " * bool(why) + f"{report.unconfirmed} not confirmed"
        mend = (
            f"The broker went away ({self._last_error or 'no answer'}): see `make status`, then run again"
            if self._lost or report.unconfirmed
            else "The broker refused them: see max.message.bytes and the ACLs of the topic"
        )
        return (
            f"{report.total - report.delivered} of {report.total} records were not confirmed by topic "
            f"{report.topic!r} ({why}); the other {report.delivered} are there. {mend}"
        )

    def _on_failure(self, error: "KafkaError | None", message: Any) -> None:
        if error is not None:
            self._count_failure(error)

    def _count_failure(self, error: "KafkaError") -> None:
        from confluent_kafka import KafkaError

        self.report.failed[error.name()] += 1
        self._last_error = error.str()
        # refusals of single records do not end the run; a broker that is gone does
        self._lost = self._lost or error.fatal() or error.code() == KafkaError._MSG_TIMED_OUT

    def _on_error(self, error: "KafkaError") -> None:
        self._last_error = error.str()
        self._lost = self._lost or error.fatal()
        log.info("Kafka client: %s", error.str())


def send(
    records: Iterable[Record],
    client_config: Mapping[str, str],
    topic: str,
    *,
    paced: bool = False,
    on_progress: Callable[[SendReport], None] = lambda report: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SendReport:
    """Send `records`, in order; with `paced` each at its `due_ms`, else as fast as it goes.

    `client_config` is librdkafka's, at least `bootstrap.servers`. `on_progress` is called every few hundred
    records and while waiting; `should_stop` is asked as often, and ends the run in good order.

    Raises KafkaUnreachableError before anything is sent where there is no broker or no such topic;
    ProducerError where records were refused or a broker went away.
    """
    before = _ends(client_config, topic)
    sender = _Sender(client_config, topic, on_progress, should_stop)
    sender.run(records, paced=paced)
    sender.report.offsets = _moved(before, client_config, topic)
    return sender.report


def _moved(
    before: Mapping[int, Watermarks], client_config: Mapping[str, str], topic: str
) -> dict[int, tuple[int, int]]:
    try:
        after = _ends(client_config, topic)
    except KafkaUnreachableError as error:  # everything was delivered: no reason to fail
        log.info("offsets are not known: %s", error)
        return {}
    return {number: (before[number].high, after[number].high) for number in before}


def _ends(client_config: Mapping[str, str], topic: str) -> dict[int, Watermarks]:
    return watermarks({**client_config, "log_level": "0"}, topic)
