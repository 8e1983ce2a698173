"""Mart gate: candidate rows of episode_features, before they are published."""

from typing import Any

from include.gx.rules import absent, at_least, contract_column, critical, in_range, present, volume, warning

_RATES = ("episode_avg_completion_rate", "episode_exit_rate", "episode_avg_dwell_time_s")


def build_suite(published_rows: int = 0, smallest_share: float = 0.5) -> Any:
    """ExpectationSuite; `published_rows` as published now, of which at least `smallest_share` must be there."""
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    read, unread = Column("final_reading_count") > 0, Column("final_reading_count") == 0
    scored, unscored = Column("popularity_score") > 0, Column("popularity_score") == 0
    known = Column("title_id").is_not_null()
    expectations = [
        *volume(published_rows, smallest_share),
        *contract_column("episode_id"),
        gxe.ExpectColumnValuesToBeUnique(column="episode_id", **critical("one_row_an_episode")),
        present("genre", known, "known_episode_has_genre"),
        present("episode_avg_rating", known, "known_episode_has_rating"),
        in_range("episode_avg_rating", 0, 10),
        in_range("final_reading_count", 0, None),
        at_least("final_reading_count", "final_reader_count", "a_reader_has_a_reading"),
        *(present(rate, read, f"{rate}_where_read") for rate in _RATES),
        *(absent(rate, unread, f"{rate}_only_where_read") for rate in _RATES),
        in_range("episode_avg_completion_rate", 0, 1),
        in_range("episode_exit_rate", 0, 1),
        in_range("episode_avg_scroll_ratio", 0, 1),
        in_range("episode_avg_dwell_time_s", 0, 24 * 3600),
        present("popularity_score"),
        in_range("popularity_score", 0, None),
        at_least("final_reading_count", "popularity_score", "a_reading_weighs_at_most_1", read),
        present("current_popularity_rank", scored, "scored_has_rank"),
        absent("current_popularity_rank", unscored, "unscored_has_no_rank"),
        in_range("current_popularity_rank", 1, None),
        gxe.ExpectColumnValuesToBeUnique(column="current_popularity_rank", **critical("one_episode_a_rank")),
        gxe.ExpectColumnValuesToNotBeNull(
            column="title_id", mostly=0.95, **warning("episodes_known_to_reference")
        ),
    ]
    return gx.ExpectationSuite(name="episode_features", expectations=expectations)
