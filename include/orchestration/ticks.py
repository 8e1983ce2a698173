"""The wall clock as data: one record a minute on the stream's control topic, whose Kafka time is the time."""

from collections.abc import Iterator
from typing import Any


class TickNotSentError(RuntimeError):
    """The broker did not take the tick; the message says why."""


def one_tick() -> Iterator[tuple[bytes | None, bytes]]:
    """Key and value of the record; the stream reads its Kafka timestamp only."""
    yield None, b"tick"


def require_delivery(error: Any, message: Any) -> None:
    """Delivery callback that fails the task; the provider's own one logs and lets it succeed."""
    if error is not None:
        raise TickNotSentError(
            f"no tick on topic {message.topic()}: {error.str()}. Is Kafka running (make status), and is connection "
            f"kafka_default right? Sessions of an idle topic stay open until the next tick"
        )
