"""The real stream agrees with the reconciliation, whatever the seed; and a stream with a fault never does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from include.orchestration.reconcile.model import Outcome, Verdict
from tests.integration.reconcile.mutations import MUTATIONS, Mutation
from tests.integration.reconcile.stream_and_batch import PARTITIONS, Runner, Topic, records_of

EVENTS = 4_000


@pytest.fixture(scope="module")
def runner(
    metastore: str,
    stack_env: dict[str, str],
    spark_jars: str,
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
) -> Runner:
    return Runner(stack_env, spark_jars, metastore, feature_db_factory, data_dir_factory)


@pytest.fixture(scope="module")
def topics(
    kafka: str, topic_factory: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Topic]:
    """The topic of a seed, made once."""
    made: dict[int, Topic] = {}

    def topic(seed: int) -> Topic:
        if seed not in made:
            made[seed] = Topic.fill(
                kafka, topic_factory(partitions=PARTITIONS), tmp_path_factory.mktemp("archive"),
                records_of(seed, EVENTS),
            )  # fmt: skip
        return made[seed]

    return topic


def told(outcomes: list[Outcome]) -> tuple[set[str], set[str]]:
    """Columns that were named as differing, and kinds of disagreement."""
    found = [outcome.comparison for outcome in outcomes if outcome.comparison is not None]
    columns = {column for it in found for column in it.by_column}
    return columns, {sample["kind"] for it in found for sample in it.samples}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 11))])
def test_stream_and_batch_agree(runner: Runner, topics: Callable[[int], Topic], seed: int) -> None:
    outcomes = runner(topics(seed))
    assert [
        (it.verdict, it.reason, it.comparison) for it in outcomes if it.verdict is not Verdict.EQUAL
    ] == []
    compared = [outcome.comparison for outcome in outcomes if outcome.comparison is not None]
    assert sum(it.rows_equal for it in compared) > 200
    assert sum(it.late_checked for it in compared) > 30


@pytest.mark.long
@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_fault_of_the_stream_is_caught_and_named(
    runner: Runner, topics: Callable[[int], Topic], tmp_path: Path, mutation: Mutation
) -> None:
    outcomes = runner(topics(1), mutation.apply(tmp_path))
    assert Verdict.DIFFERENT in {outcome.verdict for outcome in outcomes}
    columns, kinds = told(outcomes)
    assert mutation.columns <= columns, (columns, kinds)
    assert mutation.kinds <= kinds, (columns, kinds)
