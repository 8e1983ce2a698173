"""The catalogue and the population: the same for everybody, and the size that is promised."""

import random

from include.contract.event import Platform
from include.simulator.catalogue import build_catalogue
from include.simulator.experiments import EXPERIMENTS
from include.simulator.places import PLACES
from include.simulator.population import OLD_APP, PATIENCE, Population
from include.simulator.visits import Library, completion_probability, next_episode_probability
from tests.unit.simulator.conftest import HOUR_MS, START_MS


def test_catalogue_is_as_large_as_promised_and_has_each_id_once() -> None:
    titles = build_catalogue()
    episodes = [episode for title in titles for episode in title.episodes]
    assert len({title.title_id for title in titles}) == len({title.name for title in titles}) == 40
    assert 900 <= len({episode.episode_id for episode in episodes}) == len(episodes) <= 1100
    assert all(0 <= episode.rating <= 10 and 0 <= episode.quality <= 1 for episode in episodes)
    for title in titles:
        assert [episode.number for episode in title.episodes] == list(range(1, len(title.episodes) + 1))
        launches = [episode.launch_date for episode in title.episodes]
        assert launches == sorted(set(launches))


def test_catalogue_is_the_same_for_the_same_seed() -> None:
    assert build_catalogue(3) == build_catalogue(3) != build_catalogue(4)


def test_shares_of_readers_add_up() -> None:
    assert abs(sum(place.reader_share for place in PLACES) - 1) < 1e-9


def test_a_larger_population_has_the_smaller_one_in_it() -> None:
    few, many = ({reader.user_id: reader for reader in Population(size).readers} for size in (50, 400))
    assert len(many) == 400
    assert few.items() <= many.items()


def test_old_apps_take_part_in_no_experiment() -> None:
    readers = Population(500).readers
    for reader in readers:
        old = reader.ui_version == OLD_APP
        assert (reader.experiments is None) == old
        assert not old or reader.completion_effect == reader.next_episode_effect == 0
    names = {experiment.name for experiment in EXPERIMENTS}
    assert all(set(reader.experiments) == names for reader in readers if reader.experiments is not None)
    assert {reader.platform for reader in readers if reader.device == "desktop"} == {Platform.WEB}


def test_probabilities_never_need_clipping() -> None:
    """Else an effect would be smaller than stated."""
    titles = build_catalogue()
    for reader in Population(400).readers:
        assert abs(reader.patience) <= PATIENCE
        for title in titles:
            for episode in title.episodes[::5]:
                assert 0.05 < completion_probability(reader, title, episode) < 0.95
                assert 0.05 < next_episode_probability(reader, episode) < 0.95


def test_readers_come_back_to_the_episode_after_the_one_they_completed() -> None:
    library, rng = Library(build_catalogue()), random.Random(1)
    reader = Population(1).readers[0]
    title, _ = library.open_title(rng, reader)
    library.finish(reader, title, 3)
    opened = [library.open_title(rng, reader) for _ in range(200)]
    assert {index for found, index in opened if found is title} == {4}
    library.finish(reader, title, len(title.episodes) - 1)
    opened = [library.open_title(rng, reader) for _ in range(200)]
    assert {index for found, index in opened if found is title} == {0}


def test_anybody_may_be_chosen_at_any_hour_even_of_one() -> None:
    population, rng = Population(1), random.Random(1)
    chosen = {population.choose(rng, START_MS + hour * HOUR_MS).user_id for hour in range(24)}
    assert chosen == {"u000001"}
