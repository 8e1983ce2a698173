"""Pages of ops__trace_value, and what a mistake in its form says to whom."""

import logging
import os
import time
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.orchestration.trace_value import KEEP_PAGES_S, PARAMS, trace_value, write_page
from include.trace.address import parse_address


def test_a_page_has_the_run_s_place_and_old_ones_go(tmp_path: Path) -> None:
    first = write_page(tmp_path, "manual__1", "one")
    assert write_page(tmp_path, "manual__1", "two") == first
    assert first.read_text() == "two"
    old = time.time() - KEEP_PAGES_S - 60
    os.utime(first, (old, old))
    second = write_page(tmp_path, "manual__2", "three")
    assert sorted((tmp_path / "trace").iterdir()) == [second]


def test_the_form_s_example_is_a_value() -> None:
    assert parse_address(PARAMS["traced_value"].value).column == "user_exit_rate"


def test_a_mistake_is_told_in_the_log_and_not_to_slack(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_KAFKA_DEFAULT", '{"conn_type": "kafka", "extra": {"bootstrap.servers": "x:1"}}'
    )
    monkeypatch.setenv(
        "AIRFLOW_CONN_POSTGRES_FEATURES", '{"conn_type": "postgres", "host": "h", "schema": "s"}'
    )
    monkeypatch.setenv(
        "AIRFLOW_CONN_METASTORE_DEFAULT", '{"conn_type": "hive_metastore", "host": "h", "port": 1}'
    )
    monkeypatch.setenv("AIRFLOW_VAR_WEBTOON_DATA_DIR", "/data")
    with caplog.at_level(logging.ERROR), pytest.raises(AirflowFailException) as raised:
        trace_value(value="marts.users/reader-7", limit=5, run_id="r")
    assert "reader-7" not in str(raised.value)
    assert "'marts.users' is no table that can be traced" in caplog.text
    assert "reader-7" not in caplog.text
