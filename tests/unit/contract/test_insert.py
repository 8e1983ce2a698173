"""Rows brought forward by an event between two others equal those computed from all events."""

from copy import deepcopy

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contract.flat_rows import FlatEvent, Run
from include.contract.rules import SessionRules
from tests.hypothesis_profiles import examples

RULES = SessionRules()
MINUTE_MS = 60_000


@st.composite
def sessions(draw: st.DrawFn) -> list[FlatEvent]:
    """Three to eight events of one session, in session order; equal times and few episodes are frequent."""
    ids = draw(st.permutations("abcdefgh"))[: draw(st.integers(3, 8))]
    ratio = st.none() | st.sampled_from([0.0, 0.25, 1.0])
    events = [
        FlatEvent(
            draw(st.sampled_from([0, 1, 7, 20])) * MINUTE_MS, event_id, draw(st.integers(0, 1)),
            draw(st.integers(0, 3)), draw(ratio), draw(st.integers(0, 9)), draw(st.integers(0, 9)),
            draw(st.integers(0, 1)),
        )
        for event_id in ids
    ]  # fmt: skip
    return sorted(events)


@settings(max_examples=examples(2000))
@given(events=sessions(), data=st.data())
def test_an_event_between_others(events: list[FlatEvent], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(events) - 2))
    run = Run.of(events[:place] + events[place + 1 :], RULES)
    untouched = deepcopy(run)
    done = run.insert(events[place - 1], events[place], events[place + 1], RULES)
    note(f"done: {done}")
    assert run == (Run.of(events, RULES) if done else untouched)


def test_an_event_of_the_same_episode_is_inserted() -> None:
    first, second, third = (
        FlatEvent(minute * MINUTE_MS, event_id, 0, 0, None, 0, 0, 0)
        for minute, event_id in ((0, "a"), (1, "b"), (7, "c"))
    )
    run = Run.of([first, third], RULES)
    assert run.insert(first, second, third, RULES)
    assert run == Run.of([first, second, third], RULES)
