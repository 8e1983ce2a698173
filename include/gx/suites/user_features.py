"""Mart gate: candidate rows of user_features, before they are published."""

from typing import Any

from include.gx.rules import absent, at_least, contract_column, critical, in_range, present, volume, warning


def build_suite(
    published_rows: int = 0, smallest_share: float = 0.5, *, checked_rows: int | None = None
) -> Any:
    """ExpectationSuite; `published_rows` as published now, of which at least `smallest_share` must be there.

    `checked_rows`: of readers whose rows are checked; None where all are.
    """
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    expectations = [
        *volume(published_rows, smallest_share, checked_rows),
        *contract_column("user_id"),
        gxe.ExpectColumnValuesToBeUnique(column="user_id", **critical("one_row_a_reader")),
        in_range("final_reading_count", 1, None),
        in_range("final_session_count", 1, None),
        at_least("final_reading_count", "final_session_count", "a_session_has_a_reading"),
        present("user_avg_completion_rate"),
        in_range("user_avg_completion_rate", 0, 1),
        present("user_exit_rate"),
        in_range("user_exit_rate", 0, 1),
        in_range("user_avg_scroll_ratio", 0, 1),
        present("user_avg_dwell_time_s"),
        in_range("user_avg_dwell_time_s", 0, 24 * 3600),
        in_range("user_readings_per_session", 1, None),
        # who never left completed everything
        in_range(
            "user_avg_completion_rate", 1, 1, Column("user_exit_rate") == 0, "no_exit_means_all_completed"
        ),
        present("favourite_genre_share", Column("favourite_genre").is_not_null(), "genre_has_share"),
        absent("favourite_genre_share", Column("favourite_genre").is_null(), "no_genre_no_share"),
        in_range("favourite_genre_share", 0, 1),
        *contract_column("usual_device", "device"),
        *contract_column("usual_country", "country"),
        gxe.ExpectColumnMeanToBeBetween(
            column="user_avg_completion_rate",
            min_value=0.02,
            max_value=0.98,
            **warning("mean_completion_plausible"),
        ),
    ]
    return gx.ExpectationSuite(name="user_features", expectations=expectations)
