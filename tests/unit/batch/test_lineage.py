"""From which generation a session's readings are published, and what changes with the generation."""

import pytest

from include.spark_jobs.publish_features.lineage import ALWAYS_MS, NEVER_MS, Origin, Span, spans, succession

ORIGINS = {
    1: Origin(),
    2: Origin(point_ms=200, follows=1),
    3: Origin(point_ms=300, follows=2),
    4: Origin(point_ms=100, follows=3),
    5: Origin(point_ms=None, follows=4),
    6: Origin(point_ms=250, follows=1),
}
"""6 was begun after a roll-back to 1."""


@pytest.mark.parametrize(
    ("generation", "owners"),
    [
        (1, [(1, ALWAYS_MS)]),
        (2, [(2, 200), (1, ALWAYS_MS)]),
        (3, [(3, 300), (2, 200), (1, ALWAYS_MS)]),
        (4, [(4, 100), (1, ALWAYS_MS)]),
        (5, [(5, ALWAYS_MS)]),
        (6, [(6, 250), (1, ALWAYS_MS)]),
        (9, [(9, ALWAYS_MS)]),
    ],
)
def test_a_session_is_of_the_generation_that_computed_it(
    generation: int, owners: list[tuple[int, int]]
) -> None:
    found = spans(generation, ORIGINS)
    assert [(span.generation, span.from_ms) for span in found] == owners
    assert [span.to_ms for span in found] == [NEVER_MS, *(span.from_ms for span in found[:-1])]


@pytest.mark.parametrize(
    ("before", "now", "from_ms"),
    [
        (1, 2, 200),
        (2, 1, 200),
        (1, 3, 200),
        (2, 3, 300),
        (3, 2, 300),
        (3, 4, 100),
        (4, 3, 100),
        (3, 5, ALWAYS_MS),
        (2, 6, 200),
        (6, 3, 200),
    ],
)
def test_what_is_published_anew_begins_where_the_two_first_differ(
    before: int, now: int, from_ms: int
) -> None:
    changed = succession(before, now, ORIGINS)
    assert changed is not None
    assert (changed.before, changed.from_ms, changed.spans) == (before, from_ms, spans(now, ORIGINS))


def test_the_same_generation_changes_nothing() -> None:
    assert succession(3, 3, ORIGINS) is None


def test_first_partition() -> None:
    changed = succession(1, 2, {2: Origin(1_795_478_400_000, 1)})
    assert changed is not None
    assert changed.from_dt == "2026-11-24"
    assert changed.spans[0] == Span(2, 1_795_478_400_000, NEVER_MS)
    everything = succession(1, 2, {})
    assert everything is not None
    assert everything.from_dt == "1970-01-01"
