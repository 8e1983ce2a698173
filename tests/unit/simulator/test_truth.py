"""The stated truth is what an analysis of the events finds: A/B effects, local hours, hidden quality."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import correlation

import pytest

from include.contract.event import EventType, ReadingEvent, decode
from include.simulator.catalogue import build_catalogue
from include.simulator.experiments import EXPERIMENTS, Experiment, assign
from include.simulator.places import ACTIVITY_BY_LOCAL_HOUR, PLACES, local_hour
from include.simulator.traffic import GOOD_KINDS, Record
from tests.unit.simulator.conftest import HOUR_MS, START_MS

Sessions = dict[str, list[ReadingEvent]]


@pytest.fixture(scope="module")
def sessions(usual_run: list[Record]) -> Sessions:
    """Events by session_id, in time order; those that may be cut by the end of the period are left out."""
    found: Sessions = defaultdict(list)
    for record in usual_run:
        if record.kind in GOOD_KINDS:
            assert record.value is not None
            event = decode(record.value)
            found[event.session_id].append(event)
    for events in found.values():
        events.sort(key=lambda event: event.timestamp)
    return {key: events for key, events in found.items() if events[0].timestamp < START_MS + 46 * HOUR_MS}


@dataclass
class Share:
    """Successes of trials, one figure a group."""

    trials: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)

    def add(self, group: str, success: bool) -> None:
        self.trials[group] += 1
        self.successes[group] += success

    def difference(self, treated: str, control: str) -> tuple[float, float]:
        """Difference of the two proportions, and its standard error (unpooled)."""
        share = {group: self.successes[group] / self.trials[group] for group in (treated, control)}
        variance = sum(share[group] * (1 - share[group]) / self.trials[group] for group in (treated, control))
        return share[treated] - share[control], math.sqrt(variance)


def first_readings(sessions: Sessions, experiment: str) -> Share:
    """Was the first reading of the session completed? By variant."""
    found = Share()
    for events in sessions.values():
        first = events[0]
        if first.experiments is not None:
            completed = any(
                event.event_type is EventType.COMPLETE and event.episode_id == first.episode_id
                for event in events
            )
            found.add(first.experiments[experiment], completed)
    return found


def going_on(sessions: Sessions, experiment: str) -> Share:
    """Was a completed reading that has a next episode followed by it? By variant."""
    next_episode = {
        former.episode_id: later.episode_id
        for title in build_catalogue()
        for former, later in pairwise(title.episodes)
    }
    found = Share()
    for events in sessions.values():
        if events[0].experiments is None:
            continue
        entered = [event.episode_id for event in events if event.event_type is EventType.ENTER]
        completed = {event.episode_id for event in events if event.event_type is EventType.COMPLETE}
        for episode, after in pairwise([*entered, None]):
            if episode in completed and episode in next_episode:
                found.add(events[0].experiments[experiment], after == next_episode[episode])
    return found


def assert_found(share: Share, treated: str, control: str, truth: float) -> None:
    """The estimate is within three standard errors of the truth, and more than three from nothing (or not)."""
    estimate, error = share.difference(treated, control)
    assert abs(estimate - truth) < 3 * error, (estimate, error)
    assert (abs(estimate) > 3 * error) == (truth != 0), (estimate, error)


def test_completion_effect_of_the_reader_layout(sessions: Sessions) -> None:
    assert_found(first_readings(sessions, "reader_layout"), "vertical", "paged", 0.06)


def test_next_episode_effect_of_the_prompt(sessions: Sessions) -> None:
    assert_found(going_on(sessions, "next_episode_prompt"), "autoplay", "button", 0.12)


def test_experiments_without_an_effect_on_a_metric_show_none(sessions: Sessions) -> None:
    assert_found(first_readings(sessions, "cover_art"), "b", "a1", 0.0)
    assert_found(first_readings(sessions, "cover_art"), "a2", "a1", 0.0)
    assert_found(first_readings(sessions, "next_episode_prompt"), "autoplay", "button", 0.0)
    assert_found(going_on(sessions, "reader_layout"), "vertical", "paged", 0.0)


def test_the_stated_effects_are_those_of_the_experiments() -> None:
    effects = {
        (variant.completion_effect, variant.next_episode_effect)
        for experiment in EXPERIMENTS
        for variant in experiment.variants
    }
    assert effects == {(0.0, 0.0), (0.06, 0.0), (0.0, 0.12)}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_readers_are_assigned_in_the_stated_shares(experiment: Experiment) -> None:
    """Sample ratio: chi-square below its 99.9 % point for one or two degrees of freedom."""
    count = 20_000
    groups = Counter(assign(experiment, f"u{number:06d}").name for number in range(count))
    assert sum(variant.share for variant in experiment.variants) == pytest.approx(1.0)
    expected = {variant.name: variant.share * count for variant in experiment.variants}
    chi_square = sum((groups[name] - wanted) ** 2 / wanted for name, wanted in expected.items())
    assert chi_square < (10.83 if len(expected) == 2 else 13.82)


def test_a_reader_is_in_one_group_only(sessions: Sessions) -> None:
    groups = defaultdict(set)
    for events in sessions.values():
        for event in events:
            groups[event.user_id].add(tuple((event.experiments or {}).items()))
    assert {user for user, found in groups.items() if len(found) > 1} == set()


@pytest.mark.parametrize("country", ["KR", "US", "ID"])
def test_people_read_by_their_own_local_hours(sessions: Sessions, country: str) -> None:
    (place,) = [place for place in PLACES if place.country == country]
    begun = Counter(
        local_hour(place, events[0].timestamp) for events in sessions.values() if events[0].country == country
    )
    assert sum(begun.values()) > 300
    by_hour = [float(begun[hour]) for hour in range(24)]
    assert correlation(by_hour, ACTIVITY_BY_LOCAL_HOUR) > 0.8
    assert _sum(begun, range(20, 24)) > 4 * _sum(begun, range(2, 6))


def _sum(counts: Counter[int], hours: Iterable[int]) -> int:
    return sum(counts[hour] for hour in hours)


def test_the_offset_sent_is_the_country_s(sessions: Sessions) -> None:
    sent = {
        (event.country, event.utc_offset_minutes)
        for events in sessions.values()
        for event in events
        if event.utc_offset_minutes is not None
    }
    # winter in the north
    expected = {
        "KR": 540,
        "JP": 540,
        "US": -300,
        "ID": 420,
        "TH": 420,
        "TW": 480,
        "FR": 60,
        "DE": 60,
        "ES": 60,
    }
    assert sent == set((expected | {"MX": -360, "BR": -180, "IN": 330}).items())


def test_sessions_have_several_readings_and_every_type_of_event(sessions: Sessions) -> None:
    readings = [sum(event.event_type is EventType.ENTER for event in events) for events in sessions.values()]
    assert sum(count > 1 for count in readings) > len(readings) * 0.3
    types = Counter(event.event_type for events in sessions.values() for event in events)
    assert set(types) == set(EventType)
    assert all(events[0].event_type is EventType.ENTER for events in sessions.values())


def test_hidden_quality_shows_in_completion(sessions: Sessions) -> None:
    quality = {
        episode.episode_id: episode.quality for title in build_catalogue() for episode in title.episodes
    }
    found = Share()
    for events in sessions.values():
        completed = {event.episode_id for event in events if event.event_type is EventType.COMPLETE}
        for event in events:
            if event.event_type is EventType.ENTER:
                third = (
                    "good"
                    if quality[event.episode_id] > 0.6
                    else "bad"
                    if quality[event.episode_id] < 0.4
                    else "-"
                )
                found.add(third, event.episode_id in completed)
    estimate, error = found.difference("good", "bad")
    assert estimate > 10 * error


def test_some_put_the_device_away_for_longer_than_a_session_lasts(sessions: Sessions) -> None:
    split = [
        events
        for events in sessions.values()
        if any(later.timestamp - former.timestamp > 30 * 60_000 for former, later in pairwise(events))
    ]
    assert 0.005 < len(split) / len(sessions) < 0.05
