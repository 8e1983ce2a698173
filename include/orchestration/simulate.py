"""Task of simulate__produce_events: the simulator on the topic of Airflow's connection, and its trigger form."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.contract.event import DeadLetterReason
from include.orchestration.job_environment import events_topic, kafka_client_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from include.simulator.producer import SendReport
    from include.simulator.traffic import Record

log = logging.getLogger(__name__)

SAY_EVERY_S = 5.0
_SUFFIX = "_share"
_ORDER: Final = {
    "out_of_order": "Of good events: come up to 2 minutes after later ones; counted all the same",
    "late": "Of good events: come later than the stream waits; kept in quality.late_events",
    "duplicate": "Of good events: sent again",
}
_WRONG: Final = {
    "unknown_episode": "Of all records: an episode that reference.* does not know; the raw gate blocks 1 %"
}
_DEAD: Final = {
    reason.value: f"Of all records: dead letters, {reason.value.replace('_', ' ')}"
    for reason in DeadLetterReason
}
KINDS: Final = {**_ORDER, **_WRONG, **_DEAD}
"""Kind of trouble -> what it means, as include.simulator.plan.DEFAULT_SHARES has them (a test holds it to that)."""


def _number(
    title: str, description: str, section: str, *, least: float, most: float, kind: str = "number"
) -> Param:
    return Param(
        None,
        type=["null", kind],
        minimum=least,
        maximum=most,
        title=title,
        description=description,
        section=section,
    )


_WHAT, _TROUBLE = "What to produce", "Trouble (shares from 0 to 1; empty: as on a usual day)"
PARAMS: Final = {
    "events": _number(
        "Events", "How many good events; empty: 40,000, with a rate: no end", _WHAT, least=1, most=100_000_000,
        kind="integer",
    ),
    "hours": _number(
        "Hours", "Event times of this long a period that ends now, sent as fast as it goes; empty: 6", _WHAT,
        least=1 / 3600, most=24 * 31,
    ),
    "rate": _number(
        "Rate, events a second", "Live instead: event times are the present; needs events or a duration to end", _WHAT,
        least=0.01, most=100_000,
    ),
    "duration_s": _number("Duration, seconds", "Of a live run", _WHAT, least=1, most=24 * 3600),
    "readers": _number("Readers", "People who may read; empty: 5,000", _WHAT, least=1, most=1_000_000, kind="integer"),
    "seed": _number("Seed", "Same seed and start: same bytes; empty: 1", _WHAT, least=0, most=2**31, kind="integer"),
    "from_file": Param(
        None, type=["null", "string"], title="JSON Lines file", section=_WHAT,
        description="Replay this file instead, on the worker's machine, each line byte for byte",
    ),
    **{
        f"{kind}{_SUFFIX}": _number(kind.replace("_", " ").capitalize(), text, _TROUBLE, least=0, most=1)
        for kind, text in KINDS.items()
    },
}  # fmt: skip
"""The trigger form."""


def produce_events() -> dict[str, Any]:
    """Produce what the form asks for; returns the counts. Stops in good order when the task is cleared.

    Raises AirflowFailException for a wish that cannot be (no retry), AirflowException where Kafka did not take
    the records.
    """
    from include.common.kafka_offsets import KafkaUnreachableError
    from include.simulator.plan import PlanError
    from include.simulator.producer import ProducerError, send
    from include.simulator.replay import ReplayError
    from include.simulator.stop import stop_on_signals

    try:
        records, paced = chosen_records(get_current_context()["params"], int(time.time() * 1000))
        with stop_on_signals() as stop:
            report = send(
                records, kafka_client_config(), events_topic(),
                paced=paced, on_progress=_Progress(), should_stop=stop,
            )  # fmt: skip
    except (PlanError, ReplayError) as error:
        raise AirflowFailException(str(error)) from error
    except (KafkaUnreachableError, ProducerError) as error:
        # a retry would send what has arrived once more
        sent = isinstance(error, ProducerError) and error.report.delivered
        raise (AirflowFailException if sent else AirflowException)(str(error)) from error
    if report.stopped:
        raise AirflowFailException(f"stopped before the end; {report.delivered} records are on the topic")
    log.info("%s", report.as_dict())
    return report.as_dict()


def chosen_records(form: Mapping[str, Any], now_ms: int) -> "tuple[Iterable[Record], bool]":
    """The records that `form` asks for, and whether they are paced. Raises PlanError, ReplayError."""
    from include.simulator.plan import DEFAULT_HOURS, DEFAULT_SHARES, Plan, PlanError
    from include.simulator.replay import lines
    from include.simulator.traffic import records

    given = {name: value for name, value in form.items() if value is not None}
    shares = {kind: given[f"{kind}{_SUFFIX}"] for kind in KINDS if f"{kind}{_SUFFIX}" in given}
    rate = given.get("rate")
    if "from_file" in given:
        return lines(Path(given["from_file"]), rate), rate is not None
    wishes = {name: given[name] for name in ("events", "readers", "seed") if name in given}
    wishes["shares"] = {**DEFAULT_SHARES, **shares}
    if rate is None:
        return records(Plan.backfill(now_ms, hours=given.get("hours", DEFAULT_HOURS), **wishes)), False
    if "events" not in given and "duration_s" not in given:
        raise PlanError("a live run needs a number of events or a duration: it would never end")
    return records(Plan.live(now_ms, rate=rate, duration_s=given.get("duration_s"), **wishes)), True


class _Progress:
    """A line in the log every few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, report: "SendReport") -> None:
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            log.info("%d records so far, %d confirmed", report.total, report.delivered)
