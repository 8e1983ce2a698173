"""Task of simulate__produce_events: the simulator on the topic of Airflow's connection, and its trigger form."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
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
MAX_DURATION = timedelta(hours=24)
"""Of a live run."""
TASK_LIMIT = MAX_DURATION + timedelta(hours=1)
_SUFFIX = "_share"


@dataclass(frozen=True)
class Trouble:
    """A kind of trouble in the form. `share` as include.simulator.plan has it; a test holds them equal."""

    share: float
    text: str


DISORDER: Final = {
    "out_of_order": Trouble(0.08, "Come up to 2 minutes after later ones; counted all the same"),
    "late": Trouble(
        0.004, "Come 3 to 20 minutes late, which the stream does not wait for (quality.late_events)"
    ),
    "duplicate": Trouble(0.02, "Sent again within half a minute; counted once"),
}
WRONG: Final = {
    "unknown_episode": Trouble(
        0.0,
        "Accepted by the contract, but reference.* has no such episode; the raw gate blocks a slice above 1 %",
    ),
}
DEAD_LETTERS: Final = {
    reason.value: Trouble(
        0.0 if reason is DeadLetterReason.TOO_LARGE else 0.001,
        f"Dead letters for reason {reason.value}"
        + "; a mebibyte each" * (reason is DeadLetterReason.TOO_LARGE),
    )
    for reason in DeadLetterReason
}
TROUBLES: Final = {**DISORDER, **WRONG, **DEAD_LETTERS}
"""Kind -> what the form says of it."""


def _number(default: float | None, least: float, most: float, *, whole: bool = False, **words: str) -> Param:
    kind = "integer" if whole else "number"
    return Param(
        default, type=["null", kind] if default is None else kind, minimum=least, maximum=most, **words
    )


def _shares(troubles: Mapping[str, Trouble], section: str) -> dict[str, Param]:
    return {
        f"{kind}{_SUFFIX}": _number(
            trouble.share,
            0,
            1,
            title=kind.replace("_", " ").capitalize(),
            description=trouble.text,
            section=section,
        )
        for kind, trouble in troubles.items()
    }


_WHAT, _PAST, _LIVE = "What", "When: a past period, sent as fast as it goes", "Or live, as time goes by"
PARAMS: Final = {
    "events": _number(
        40_000, 1, 100_000_000, whole=True, section=_WHAT, title="Events",
        description="Good events; repeats and bad records come on top",
    ),
    "readers": _number(
        5_000, 1, 1_000_000, whole=True, section=_WHAT, title="Readers",
        description="How many people there are to read; the same ones in every run",
    ),
    "seed": _number(
        1, 0, 2**31, whole=True, section=_WHAT, title="Seed", description="Same seed and start: same bytes",
    ),
    "hours": _number(
        6, 0.01, 24 * 31, section=_PAST, title="Hours that end now",
        description="Event times. Where the stream has seen newer events than that, it takes the older ones for late",
    ),
    "rate": _number(
        None, 0.01, 100_000, section=_LIVE, title="Rate, events a second",
        description="Where given, the run is live: event times are the present, the hours above do not count",
    ),
    "duration_s": _number(
        None, 1, MAX_DURATION.total_seconds(), section=_LIVE, title="Duration, seconds",
        description="Ends a live run before it has made its events",
    ),
    **_shares(DISORDER, "Disorder: shares of the good events, 0 to 1"),
    **_shares(WRONG | DEAD_LETTERS, "Bad records: shares of all records, 0 to 1"),
    "from_file": Param(
        None, type=["null", "string"], section="Or a file", title="JSON Lines file",
        description="Path on the worker's machine. Replayed instead, each line byte for byte (at the rate, where given); "
        "nothing else above counts",
    ),
}  # fmt: skip
"""The trigger form."""


def produce_events() -> dict[str, Any]:
    """Produce what the form asks for; returns the counts. Stops in good order when the task is cleared.

    Raises AirflowException where there is no broker or topic (retried), AirflowFailException (not retried) for a
    wish that cannot be, where records did not get to the topic, and where it was stopped.
    """
    from include.common.kafka.offsets import KafkaUnreachableError
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
    except KafkaUnreachableError as error:  # nothing was sent
        raise AirflowException(str(error)) from error
    except (PlanError, ReplayError, ProducerError) as error:
        # a retry would meet the same wish, or send what has arrived once more
        raise AirflowFailException(str(error)) from error
    if report.stopped:
        raise AirflowFailException(f"stopped before the end; {report.delivered} records are on the topic")
    log.info("%s", report.as_dict())
    return report.as_dict()


def chosen_records(form: Mapping[str, Any], now_ms: int) -> "tuple[Iterable[Record], bool]":
    """The records that `form` asks for, and whether they are paced. Raises PlanError, ReplayError."""
    from include.simulator.plan import Plan
    from include.simulator.replay import file_size, lines
    from include.simulator.traffic import records

    rate = form["rate"]
    if form["from_file"]:
        path = Path(form["from_file"])
        file_size(path)
        return lines(path, rate), rate is not None
    wishes: dict[str, Any] = {name: form[name] for name in ("events", "readers", "seed")}
    wishes["shares"] = {kind: form[f"{kind}{_SUFFIX}"] for kind in TROUBLES}
    if rate is None:
        return records(Plan.backfill(now_ms, hours=form["hours"], **wishes)), False
    return records(Plan.live(now_ms, rate=rate, duration_s=form["duration_s"], **wishes)), True


class _Progress:
    """A line in the log every few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, report: "SendReport") -> None:
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            log.info("%d records so far, %d confirmed", report.total, report.delivered)
