"""What a cut says of itself, and which readings its gate looks at."""

import pytest

from include.orchestration.model.cut import Cut, readings_of_cut_query

BASED = Cut(7, 3, 42, "2026-11-24T10:00:00+00:00", base_position=40)


def test_a_cut_goes_through_xcom_unchanged() -> None:
    assert Cut(**BASED.as_dict()) == BASED


def test_a_cut_with_a_reason_to_rebuild_is_one() -> None:
    assert not BASED.is_rebuild
    rebuilt = Cut(7, 3, 42, BASED.as_of, rebuild_reason="no cut is published yet")
    assert rebuilt.is_rebuild
    assert "ledger_position > -1" in readings_of_cut_query(rebuilt), (
        "rows of a copied generation have position 0"
    )


def test_the_gate_looks_at_what_became_final_since_the_base() -> None:
    query = readings_of_cut_query(BASED)
    for condition in ("is_final", "generation = 3", "ledger_position > 40", "ledger_position <= 42"):
        assert condition in query
    assert "CASE" not in query


def test_columns_of_new_readings_are_empty_in_the_others() -> None:
    query = readings_of_cut_query(BASED, 41, ("new_event_count", "new_dwell_time_ms"))
    assert "CASE WHEN ledger_position > 41 THEN event_count END AS new_event_count" in query
    assert "CASE WHEN ledger_position > 41 THEN dwell_time_ms END AS new_dwell_time_ms" in query


def test_a_position_that_is_no_number_never_becomes_sql() -> None:
    with pytest.raises(ValueError, match="Unknown format code 'd'"):
        readings_of_cut_query(Cut(1, 1, "0; DROP TABLE x", ""))  # type: ignore[arg-type]  # what is tested
