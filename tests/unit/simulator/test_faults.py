"""Every dead-letter reason has a maker, and what it makes is refused for that reason alone."""

import random

import pytest

from include.contract.event import ContractError, DeadLetterReason, EventType, accept_record
from include.simulator.catalogue import build_catalogue
from include.simulator.faults import MAKERS, UNKNOWN_EPISODE, Spoilt, spoil
from include.simulator.population import Population
from include.simulator.visits import Library, simulate_visit
from tests.unit.simulator.conftest import START_MS

ROUNDS = 300
NOW_MS = 1_795_651_200_000
"""2026-11-26: a record's clock, long after the events."""


def made(kind: str, rounds: int = ROUNDS) -> list[Spoilt]:
    """`rounds` bad records of events of all types, from all apps and countries."""
    rng = random.Random(3)
    population, library = Population(300), Library(build_catalogue())
    found = []
    for serial in range(rounds):
        visit = simulate_visit(rng, library, population.choose(rng, START_MS), START_MS)
        found.append(spoil(kind, rng, visit.event(rng.randrange(len(visit.steps))), serial))
    return found


def test_every_reason_has_a_maker() -> None:
    assert set(MAKERS) == {reason.value for reason in DeadLetterReason} | {UNKNOWN_EPISODE}


@pytest.mark.parametrize("reason", list(DeadLetterReason))
def test_refused_for_exactly_its_reason(reason: DeadLetterReason) -> None:
    records = made(reason.value, 5 if reason is DeadLetterReason.TOO_LARGE else ROUNDS)
    for record in records:
        with pytest.raises(ContractError) as refused:
            accept_record(record.key, record.value, NOW_MS)
        assert refused.value.reason == reason, record


def test_unknown_episodes_are_accepted_but_nobody_knows_them() -> None:
    known = {episode.episode_id for title in build_catalogue() for episode in title.episodes}
    events = [accept_record(*record, NOW_MS) for record in made(UNKNOWN_EPISODE)]
    assert not {event.episode_id for event in events} & known
    # in sessions of their own: no true session gets a reading that nobody made
    assert len({event.session_id for event in events}) == ROUNDS
    assert {event.event_type for event in events} == set(EventType)


def test_each_kind_goes_wrong_in_several_ways() -> None:
    assert len({record.value for record in made(DeadLetterReason.NOT_JSON)}) > ROUNDS / 2
    assert {record.value for record in made(DeadLetterReason.EMPTY_VALUE)} == {None, b""}
    assert b"" in {record.key for record in made(DeadLetterReason.KEY_MISMATCH)}
