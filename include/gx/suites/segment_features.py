"""Mart gate: candidate rows of segment_features (country x device), before they are published."""

from typing import Any

from include.gx.rules import at_least, contract_column, critical, in_range, present, volume, warning


def build_suite(published_rows: int = 0, smallest_share: float = 0.5) -> Any:
    """ExpectationSuite; `published_rows` as published now, of which at least `smallest_share` must be there."""
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    expectations = [
        *volume(published_rows, smallest_share, spare=50),  # there are 747 segments at most
        *contract_column("country"),
        *contract_column("device"),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["country", "device"], **critical("one_row_a_segment")
        ),
        in_range("final_reading_count", 1, None),
        at_least("final_reading_count", "final_session_count", "a_session_has_a_reading"),
        at_least("final_reading_count", "final_reader_count", "a_reader_has_a_reading"),
        present("segment_avg_completion_rate"),
        in_range("segment_avg_completion_rate", 0, 1),
        present("segment_exit_rate"),
        in_range("segment_exit_rate", 0, 1),
        in_range("segment_avg_scroll_ratio", 0, 1),
        in_range("segment_avg_dwell_time_s", 0, 24 * 3600),
        in_range(
            "segment_avg_completion_rate",
            1,
            1,
            Column("segment_exit_rate") == 0,
            "no_exit_means_all_completed",
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="top_genre", mostly=0.5, **warning("segments_with_genre")),
    ]
    return gx.ExpectationSuite(name="segment_features", expectations=expectations)
