"""Good rows of each checked table, and for each rule a change that breaks this rule and no other."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from include.contract.derive import constraints

Change = Callable[[pd.DataFrame], pd.DataFrame]


def put(**values: Any) -> Change:
    """The first row gets these values."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.astype(dict.fromkeys(values, object))
        for column, value in values.items():
            changed.at[0, column] = value
        return changed

    return change


def repeat_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The first row twice."""
    return pd.concat([frame, frame.head(1)], ignore_index=True)


def no_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Nothing left."""
    return frame.head(0)


def put_all(**values: Any) -> Change:
    """Every row gets these values."""
    return lambda frame: frame.astype(dict.fromkeys(values, object)).assign(**values)


def many(rows: int, row: int, *key: str, prefix: str = "copy") -> Change:
    """Row number `row` another `rows` times, under values of `key` of their own."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        copies = pd.concat([frame.iloc[[row]]] * rows, ignore_index=True)
        for column in key:
            copies[column] = [f"{prefix}{number}" for number in range(rows)]
        return pd.concat([frame, copies], ignore_index=True)

    return change


def many_segments(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each device in each of 21 countries."""
    countries = constraints()["country"].allowed_values or ()
    keys = pd.DataFrame(
        product(list(countries)[:21], ["phone", "tablet", "desktop"]), columns=["country", "device"]
    )
    copies = pd.concat([frame.head(1)] * len(keys), ignore_index=True)
    return copies.assign(**keys)


@dataclass(frozen=True)
class Slices:
    """`good` rows pass everything; `breaking[rule]` breaks that rule alone."""

    good: pd.DataFrame
    breaking: dict[str, Change]


def _at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def _identifier(column: str) -> dict[str, Change]:
    return {f"{column}_present": put(**{column: None}), f"{column}_length": put(**{column: "x" * 129})}


def _code(column: str, wrong: str) -> dict[str, Change]:
    return {f"{column}_present": put(**{column: None}), f"{column}_allowed": put(**{column: wrong})}


_READINGS = pd.DataFrame(
        [
            # left, so the first row can take most changes without touching the rules on completed ones
            {
                "session_id": "s1", "session_start_ms": 1, "episode_id": "e1", "user_id": "u1", "country": "KR",
                "device": "phone", "platform": "ios", "status": "exited", "is_exit_tag": True,
                "completion_rate": 0.5, "max_scroll_ratio": 0.5, "event_count": 3, "scroll_event_count": 1,
                "dwell_time_ms": 1000, "started_at": _at("2026-01-01 10:00"), "ended_at": _at("2026-01-01 10:05"),
            },
            {
                "session_id": "s1", "session_start_ms": 1, "episode_id": "e2", "user_id": "u1", "country": "KR",
                "device": "phone", "platform": "ios", "status": "completed", "is_exit_tag": False,
                "completion_rate": 1.0, "max_scroll_ratio": 0.9, "event_count": 2, "scroll_event_count": 1,
                "dwell_time_ms": 0, "started_at": _at("2026-01-01 10:06"), "ended_at": _at("2026-01-01 10:06"),
            },
            {
                "session_id": "s2", "session_start_ms": 2, "episode_id": "e1", "user_id": "u2", "country": "US",
                "device": "tablet", "platform": "web", "status": "timed_out", "is_exit_tag": True,
                "completion_rate": 0.0, "max_scroll_ratio": None, "event_count": 1, "scroll_event_count": 0,
                "dwell_time_ms": 86_400_000, "started_at": _at("2026-01-01 11:00"),
                "ended_at": _at("2026-01-01 11:00"),
            },
        ]
    ).assign(new_dwell_time_ms=1000, new_event_count=3, new_scroll_event_count=1)  # fmt: skip
SESSION_FEATURES = Slices(
    # enough of the usual kind, so that one row moves no quantile
    good=many(300, 0, "session_id", prefix="usual")(_READINGS),
    breaking={
        "has_rows": no_rows,
        "one_row_a_reading": repeat_first,
        **_identifier("session_id"),
        **_identifier("user_id"),
        **_identifier("episode_id"),
        **_code("country", "XX"),
        **_code("device", "watch"),
        **_code("platform", "symbian"),
        "max_scroll_ratio_in_range": put(max_scroll_ratio=-0.1),
        "completion_rate_present": put(completion_rate=None),
        "completion_rate_in_range": put(completion_rate=1.5),
        "completed_means_completion_rate_1": put(status="completed", is_exit_tag=False, completion_rate=0.99),
        "completion_rate_covers_scroll": put(max_scroll_ratio=0.6),
        "status_present": put(status=None),
        "final_status": put(status="active"),
        "is_exit_tag_present": put(is_exit_tag=None),
        "completed_is_no_exit": put(status="completed", completion_rate=1.0),
        "left_is_exit": put(is_exit_tag=False),
        "started_at_present": put(started_at=None),
        "ended_at_present": put(ended_at=None),
        "ended_after_started": put(ended_at=_at("2026-01-01 09:59:59.999")),
        "event_count_in_range": put(event_count=0, scroll_event_count=0),
        "scroll_event_count_in_range": put(scroll_event_count=-1),
        "scroll_events_are_events": put(scroll_event_count=4),
        "dwell_time_ms_in_range": put(dwell_time_ms=-1),
        "readings_with_scroll": put_all(max_scroll_ratio=None),
        "no_runaway_reading": put(event_count=100_001),
        "new_dwell_time_ms_quantiles_as_before": put_all(new_dwell_time_ms=1200),
        "new_event_count_quantiles_as_before": put_all(new_event_count=5),
        "new_scroll_event_count_quantiles_as_before": put_all(new_scroll_event_count=3),
    },
)

_VOLUME = {"volume_against_published": lambda frame: frame.head(1)}

USER_FEATURES = Slices(
    good=pd.DataFrame(
        [
            {
                "user_id": "u1", "final_reading_count": 4, "final_session_count": 2,
                "user_avg_completion_rate": 0.5, "user_exit_rate": 0.5, "user_avg_scroll_ratio": 0.4,
                "user_avg_dwell_time_s": 2.5, "user_readings_per_session": 2.0, "favourite_genre": "drama",
                "favourite_genre_share": 0.75, "usual_device": "phone", "usual_country": "KR",
            },
            {
                "user_id": "u2", "final_reading_count": 1, "final_session_count": 1,
                "user_avg_completion_rate": 1.0, "user_exit_rate": 0.0, "user_avg_scroll_ratio": None,
                "user_avg_dwell_time_s": 0.0, "user_readings_per_session": 1.0, "favourite_genre": None,
                "favourite_genre_share": None, "usual_device": "tablet", "usual_country": "US",
            },
            {
                "user_id": "u3", "final_reading_count": 2, "final_session_count": 2,
                "user_avg_completion_rate": 0.0, "user_exit_rate": 1.0, "user_avg_scroll_ratio": None,
                "user_avg_dwell_time_s": 1.0, "user_readings_per_session": 1.0, "favourite_genre": "action",
                "favourite_genre_share": 1.0, "usual_device": "desktop", "usual_country": "JP",
            },
        ]
    ),
    breaking={
        **_VOLUME,
        **_identifier("user_id"),
        "one_row_a_reader": repeat_first,
        "final_reading_count_in_range": put(final_reading_count=0, final_session_count=None),
        "final_session_count_in_range": put(final_session_count=0),
        "a_session_has_a_reading": put(final_session_count=5),
        "user_avg_completion_rate_present": put(user_avg_completion_rate=None),
        "user_avg_completion_rate_in_range": put(user_avg_completion_rate=1.01),
        "user_exit_rate_present": put(user_exit_rate=None),
        "user_exit_rate_in_range": put(user_exit_rate=-0.01),
        "user_avg_scroll_ratio_in_range": put(user_avg_scroll_ratio=2.0),
        "user_avg_dwell_time_s_present": put(user_avg_dwell_time_s=None),
        "user_avg_dwell_time_s_in_range": put(user_avg_dwell_time_s=90_000.0),
        "user_readings_per_session_in_range": put(user_readings_per_session=0.5),
        "no_exit_means_all_completed": put(user_exit_rate=0.0),
        "genre_has_share": put(favourite_genre_share=None),
        "no_genre_no_share": put(favourite_genre=None),
        "favourite_genre_share_in_range": put(favourite_genre_share=1.5),
        **_code("usual_device", "watch"),
        **_code("usual_country", "XX"),
        "volume_growth_against_published": many(1010, 0, "user_id"),
        "mean_completion_plausible": put_all(user_avg_completion_rate=1.0),
    },
)  # fmt: skip

EPISODE_FEATURES = Slices(
    good=pd.DataFrame(
        [
            {
                "episode_id": "e1", "title_id": "t1", "genre": "drama", "episode_avg_rating": 9.5,
                "final_reading_count": 4, "final_reader_count": 2, "episode_avg_completion_rate": 0.5,
                "episode_exit_rate": 0.5, "episode_avg_scroll_ratio": 0.4, "episode_avg_dwell_time_s": 2.5,
                "popularity_score": 3.5, "current_popularity_rank": 1,
            },
            {  # known, never read
                "episode_id": "e2", "title_id": "t1", "genre": "drama", "episode_avg_rating": 0.0,
                "final_reading_count": 0, "final_reader_count": 0, "episode_avg_completion_rate": None,
                "episode_exit_rate": None, "episode_avg_scroll_ratio": None, "episode_avg_dwell_time_s": None,
                "popularity_score": 0.0, "current_popularity_rank": None,
            },
            {  # read long ago
                "episode_id": "e3", "title_id": "t1", "genre": "action", "episode_avg_rating": 10.0,
                "final_reading_count": 1, "final_reader_count": 1, "episode_avg_completion_rate": 1.0,
                "episode_exit_rate": 0.0, "episode_avg_scroll_ratio": None, "episode_avg_dwell_time_s": 0.0,
                "popularity_score": 0.0, "current_popularity_rank": None,
            },
            {
                "episode_id": "e4", "title_id": "t1", "genre": "action", "episode_avg_rating": 5.0,
                "final_reading_count": 1, "final_reader_count": 1, "episode_avg_completion_rate": 0.0,
                "episode_exit_rate": 1.0, "episode_avg_scroll_ratio": None, "episode_avg_dwell_time_s": 1.0,
                "popularity_score": 0.5, "current_popularity_rank": 2,
            },
        ]
    ),
    breaking={
        **_VOLUME,
        **_identifier("episode_id"),
        "one_row_an_episode": put(episode_id="e2"),
        "known_episode_has_genre": put(genre=None),
        "known_episode_has_rating": put(episode_avg_rating=None),
        "episode_avg_rating_in_range": put(episode_avg_rating=10.1),
        "final_reading_count_in_range": put(
            final_reading_count=-1, final_reader_count=None, popularity_score=0.0, current_popularity_rank=None
        ),
        "a_reader_has_a_reading": put(final_reader_count=5),
        "episode_avg_completion_rate_where_read": put(episode_avg_completion_rate=None),
        "episode_exit_rate_where_read": put(episode_exit_rate=None),
        "episode_avg_dwell_time_s_where_read": put(episode_avg_dwell_time_s=None),
        **{
            f"{rate}_only_where_read": (lambda frame, rate=rate: frame.astype({rate: object}).assign(
                **{rate: [0.5, 0.5, 0.5, 0.5]}
            ))
            for rate in ("episode_avg_completion_rate", "episode_exit_rate", "episode_avg_dwell_time_s")
        },
        "episode_avg_completion_rate_in_range": put(episode_avg_completion_rate=1.01),
        "episode_exit_rate_in_range": put(episode_exit_rate=-0.1),
        "episode_avg_scroll_ratio_in_range": put(episode_avg_scroll_ratio=1.1),
        "episode_avg_dwell_time_s_in_range": put(episode_avg_dwell_time_s=-1.0),
        "popularity_score_present": put(popularity_score=None),
        "popularity_score_in_range": put(popularity_score=-1.0),
        "a_reading_weighs_at_most_1": put(popularity_score=4.5),
        "scored_has_rank": put(current_popularity_rank=None),
        "unscored_has_no_rank": put(popularity_score=0.0),
        "current_popularity_rank_in_range": put(current_popularity_rank=0),
        "one_episode_a_rank": put(current_popularity_rank=2),
        "volume_growth_against_published": many(1010, 1, "episode_id"),
        "episodes_known_to_reference": put(title_id=None),
    },
)  # fmt: skip

SEGMENT_FEATURES = Slices(
    good=pd.DataFrame(
        [
            {
                "country": "KR", "device": "phone", "final_reading_count": 4, "final_session_count": 2,
                "final_reader_count": 2, "segment_avg_completion_rate": 0.5, "segment_exit_rate": 0.5,
                "segment_avg_scroll_ratio": 0.4, "segment_avg_dwell_time_s": 2.5, "top_genre": "drama",
            },
            {
                "country": "KR", "device": "tablet", "final_reading_count": 1, "final_session_count": 1,
                "final_reader_count": 1, "segment_avg_completion_rate": 1.0, "segment_exit_rate": 0.0,
                "segment_avg_scroll_ratio": None, "segment_avg_dwell_time_s": 0.0, "top_genre": None,
            },
            {
                "country": "US", "device": "phone", "final_reading_count": 1, "final_session_count": 1,
                "final_reader_count": 1, "segment_avg_completion_rate": 0.0, "segment_exit_rate": 1.0,
                "segment_avg_scroll_ratio": None, "segment_avg_dwell_time_s": 1.0, "top_genre": "action",
            },
        ]
    ),
    breaking={
        **_VOLUME,
        **_code("country", "XX"),
        **_code("device", "watch"),
        "one_row_a_segment": repeat_first,
        "final_reading_count_in_range": put(
            final_reading_count=0, final_session_count=None, final_reader_count=None
        ),
        "a_session_has_a_reading": put(final_session_count=5),
        "a_reader_has_a_reading": put(final_reader_count=5),
        "segment_avg_completion_rate_present": put(segment_avg_completion_rate=None),
        "segment_avg_completion_rate_in_range": put(segment_avg_completion_rate=1.01),
        "segment_exit_rate_present": put(segment_exit_rate=None),
        "segment_exit_rate_in_range": put(segment_exit_rate=-0.1),
        "segment_avg_scroll_ratio_in_range": put(segment_avg_scroll_ratio=1.1),
        "segment_avg_dwell_time_s_in_range": put(segment_avg_dwell_time_s=-1.0),
        "no_exit_means_all_completed": put(segment_exit_rate=0.0),
        "volume_growth_against_published": many_segments,
        "segments_with_genre": put_all(top_genre=None),
    },
)  # fmt: skip
