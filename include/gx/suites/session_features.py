"""Session gate: what became final since the published cut, before dbt reads it.

Identifiers, sets and ranges come from the event contract; the rest are the rules of the design's section 4.
"""

from typing import Any

from include.common.thresholds import default_of
from include.gx.history import OUTLIER_Z, CutHistory
from include.gx.rules import (
    at_least,
    contract_column,
    critical,
    in_range,
    present,
    quantiles_as_before,
    warning,
)

_MAX_SESSION_MS = 24 * 3600 * 1000
OUTLIER_COLUMNS = ("new_dwell_time_ms", "new_event_count", "new_scroll_event_count")
"""Of readings new in the cut, NULL in the others: Great Expectations takes no quantiles where a row condition holds."""
LOCATED_BY = ("source_partition", "last_offset")
"""Columns that say where in Kafka a reading's last event is."""


def build_quiet_suite() -> Any:
    """ExpectationSuite of a cut in which no reading became final: that there is none."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    nothing = gxe.ExpectTableRowCountToEqual(value=0, **critical("nothing_new"))
    return gx.ExpectationSuite(name="session_features", expectations=[nothing])


def build_suite(history: CutHistory, outlier_z: float = default_of(OUTLIER_Z)) -> Any:
    """ExpectationSuite for rows of realtime.session_features that are final, with OUTLIER_COLUMNS.

    Quantiles of readings that are new since the cut before may lie `outlier_z` robust standard deviations from those of
    earlier cuts.
    """
    import great_expectations as gx

    expectations = [
        *_rules(),
        *(
            quantiles_as_before(
                column,
                history.quantiles.get(column, ()),
                outlier_z,
                history.not_checked(column),
                history.new_readings,
            )
            for column in OUTLIER_COLUMNS
        ),
    ]
    return gx.ExpectationSuite(name="session_features", expectations=expectations)


def build_rebuilt_suite() -> Any:
    """ExpectationSuite for the rebuilt rows of a day: final, too, but no cut's new ones."""
    import great_expectations as gx

    return gx.ExpectationSuite(name="session_features", expectations=_rules())


def _rules() -> list[Any]:
    """What holds for every final reading."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    completed = Column("status") == "completed"
    left = Column("status").is_in(["exited", "timed_out"])
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **critical("has_rows")),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["session_id", "session_start_ms", "episode_id"], **critical("one_row_a_reading")
        ),
        *contract_column("session_id"),
        *contract_column("user_id"),
        *contract_column("episode_id"),
        *contract_column("country"),
        *contract_column("device"),
        *contract_column("platform"),
        *contract_column("max_scroll_ratio", "scroll_ratio", nullable=True),
        present("completion_rate"),
        in_range("completion_rate", 0, 1),
        in_range("completion_rate", 1, 1, completed, "completed_means_completion_rate_1"),
        at_least("completion_rate", "max_scroll_ratio", "completion_rate_covers_scroll"),
        present("status"),
        # a final reading is over, so it is not active and its exit tag is known
        gxe.ExpectColumnValuesToBeInSet(
            column="status", value_set=["completed", "exited", "timed_out"], **critical("final_status")
        ),
        present("is_exit_tag"),
        gxe.ExpectColumnValuesToBeInSet(
            column="is_exit_tag",
            value_set=[False],
            row_condition=completed,
            **critical("completed_is_no_exit"),
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="is_exit_tag", value_set=[True], row_condition=left, **critical("left_is_exit")
        ),
        present("started_at"),
        present("ended_at"),
        at_least("ended_at", "started_at", "ended_after_started"),
        in_range("event_count", 1, None),
        in_range("scroll_event_count", 0, None),
        at_least("event_count", "scroll_event_count", "scroll_events_are_events"),
        in_range("dwell_time_ms", 0, _MAX_SESSION_MS),
        gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(
            column="max_scroll_ratio", min_value=0.05, **warning("readings_with_scroll")
        ),
        gxe.ExpectColumnMaxToBeBetween(
            column="event_count", max_value=100_000, **warning("no_runaway_reading")
        ),
    ]
