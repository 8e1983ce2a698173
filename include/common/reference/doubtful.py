"""What is valid in a reference and looks wrong all the same: told, and loaded.

Sentences for a log, each with some of the keys that it is about.
"""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import psycopg

from include.common.reference.files import Episode, Reference

_SHOWN = 5
_TEXTS = {
    "launched_after_reading": "read before they launch anywhere on Earth (launch_date, UTC+14)",
    "removed_though_read": "removed though the realtime store has readings of them",
}


def file_warnings(reference: Reference) -> list[str]:
    """What the files alone show."""
    of_title: dict[str, list[Episode]] = defaultdict(list)
    for episode in reference.episodes:
        of_title[episode.title_id].append(episode)
    empty = [title.title_id for title in reference.titles if title.title_id not in of_title]
    repeated, disordered = [], []
    for episodes in of_title.values():
        ordered = sorted(episodes, key=lambda it: (it.episode_number, it.episode_id))
        for earlier, later in pairwise(ordered):
            if later.episode_number == earlier.episode_number:
                repeated.append(later.episode_id)
            if later.launch_date < earlier.launch_date:
                disordered.append(later.episode_id)
    return [
        sentence
        for sentence in (
            _sentence("titles", "without an episode", empty),
            _sentence("episodes", "with a number that another of the title has", repeated),
            _sentence("episodes", "launched before the one that they follow", disordered),
        )
        if sentence
    ]


def store_warnings(connection: psycopg.Connection) -> list[str]:
    """What the readings say; in the load's transaction, after it."""
    statement = (Path(__file__).parent / "sql" / "find_doubtful.sql").read_text()
    rows = connection.execute(statement.encode()).fetchall()
    return [_sentence("episodes", _TEXTS[kind], keys, count) for kind, count, keys in rows]


def _sentence(what: str, how: str, keys: list[str], count: int | None = None) -> str:
    """Empty where there is none."""
    total = len(keys) if count is None else count
    if not total:
        return ""
    shown = ", ".join(sorted(keys)[:_SHOWN]) + (", ..." if total > _SHOWN else "")
    return f"{what} {how} ({total}): {shown}"
