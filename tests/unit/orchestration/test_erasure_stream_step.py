"""How long the working run waits for the stream, and what it says then. A paused one on a real Airflow: test_erasure_form.py."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.common.names import Dag
from include.orchestration.erasure import stream_step
from include.orchestration.erasure.stream_step import WAIT, is_stream_done


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Ticks sent, while the stream has not done its part."""
    sent: list[dict[str, str]] = []
    monkeypatch.setattr(stream_step, "_is_recorded", lambda _: False)
    monkeypatch.setattr(stream_step, "kafka_client_config", lambda: {"bootstrap.servers": "of a test"})
    monkeypatch.setattr(stream_step, "send_tick", sent.append)
    return sent


@pytest.mark.parametrize("paused", [True, False])
def test_it_waits_and_then_says_what_keeps_it(
    paused: bool, ticks: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_step, "is_paused", lambda dag_id: paused and dag_id == Dag.SESSIONIZE)
    now = datetime.now(UTC)
    assert not is_stream_done(
        erasure_id=3, dag_run=SimpleNamespace(start_date=now - WAIT + timedelta(minutes=1))
    )
    assert len(ticks) == (0 if paused else 1), "a paused stream takes no tick"
    with pytest.raises(
        AirflowFailException, match="is paused: unpause it" if paused else "is its driver running"
    ):
        is_stream_done(erasure_id=3, dag_run=SimpleNamespace(start_date=now - WAIT - timedelta(minutes=1)))
    assert len(ticks) == (0 if paused else 1)


def test_done_is_done_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_step, "_is_recorded", lambda number: number == 3)
    assert is_stream_done(erasure_id=3, dag_run=SimpleNamespace(start_date=datetime(2026, 1, 1, tzinfo=UTC)))
