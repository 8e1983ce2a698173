"""OpenLineage events of our jobs: to files by day, with parent and schemas, and never in a job's way."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from openlineage.client import OpenLineageClient

from include.common.hive.tables import SESSION_FEATURES
from include.common.lineage.events import (
    EMISSION_POLICY,
    NAMESPACE,
    PARENT,
    ROOT,
    TRANSPORT,
    folder_dataset,
    hive_dataset,
    job_run,
    postgres_dataset,
    run_event,
    topic_dataset,
    transport_setting,
)
from include.common.lineage.files import DailyFileConfig, day_file, remove_older
from include.common.names import Dag

DSN = "postgresql://webtoon:secret@127.0.0.1:5433/features"
RUN_ID = "01890000-0000-7000-8000-000000000001"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where events go, told to a job as its operator would."""
    folder = tmp_path / "lineage"
    monkeypatch.setenv(TRANSPORT, transport_setting(folder))
    monkeypatch.setenv(NAMESPACE, "webtoon")
    monkeypatch.setenv(PARENT, f"webtoon/events__archive.archive_slice/{RUN_ID}")
    monkeypatch.setenv(ROOT, f"webtoon/events__archive/{RUN_ID}")
    return folder


def events(folder: Path) -> list[dict[str, Any]]:
    [file] = folder.iterdir()
    assert file == day_file(folder / "events", datetime.now(UTC).date())
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_job_tells_its_beginning_and_its_end(folder: Path) -> None:
    reads = [topic_dataset("127.0.0.1:9092,other:9092", "webtoon_user_events")]
    writes = [
        hive_dataset("thrift://127.0.0.1:9083", SESSION_FEATURES), postgres_dataset(DSN, "ops.stream_batches"),
        folder_dataset(Path("/data/landing")),
    ]  # fmt: skip
    with job_run("archive_events", reads, writes):
        assert [event["eventType"] for event in events(folder)] == ["START"]
    start, complete = events(folder)
    assert complete["eventType"] == "COMPLETE"
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert (start["job"]["namespace"], start["job"]["name"]) == ("webtoon", "archive_events")
    assert [(it["namespace"], it["name"]) for it in complete["inputs"]] == [
        ("kafka://127.0.0.1:9092", "webtoon_user_events")
    ]
    assert [(it["namespace"], it["name"]) for it in complete["outputs"]] == [
        ("hive://127.0.0.1:9083", "webtoon.session_features"),
        ("postgres://127.0.0.1:5433", "features.ops.stream_batches"),
        ("file", "/data/landing"),
    ]
    fields = {it["name"]: it["type"] for it in complete["outputs"][0]["facets"]["schema"]["fields"]}
    assert (fields["dwell_time_ms"], fields["dt"]) == ("bigint", "string")
    parent = complete["run"]["facets"]["parent"]
    assert (parent["job"]["name"], parent["run"]["runId"]) == ("events__archive.archive_slice", RUN_ID)
    assert parent["root"]["job"]["name"] == "events__archive"
    assert "secret" not in json.dumps(events(folder))


def test_a_job_that_fails_says_so_and_still_fails(folder: Path) -> None:
    with pytest.raises(ValueError, match="first"), job_run("archive_events", [], []):
        raise ValueError("first\nsecond")
    last = events(folder)[-1]
    assert last["eventType"] == "FAIL"
    assert last["run"]["facets"]["errorMessage"]["message"] == "first"


def test_a_job_that_is_called_off_has_not_failed(folder: Path) -> None:
    with pytest.raises(LookupError), job_run("sessionize", [], [], called_off=LookupError):
        raise LookupError("generation 1 is retired")
    assert [event["eventType"] for event in events(folder)] == ["START", "ABORT"]


def test_a_stream_says_that_it_is_one() -> None:
    event = run_event("START", "sessionize", RUN_ID, [], [], streaming=True, environment={})
    assert event.job.facets["jobType"].processingType == "STREAMING"
    assert (event.job.namespace, event.run.facets) == ("webtoon", {})


@pytest.mark.parametrize(
    "transport",
    [
        {"type": "http", "url": "http://127.0.0.1:9", "retry": {"total": 0}},
        {"type": "no.such.Transport"},
        {"type": "include.common.lineage.files.DailyFileTransport"},
        {"type": "include.common.lineage.files.DailyFileTransport", "log_file_path": "/proc/none/events"},
        {"type": "include.common.lineage.files.DailyFileTransport", "log_file_path": "x", "keep_days": 0},
    ],
)
def test_events_that_cannot_be_sent_stop_no_job(
    transport: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TRANSPORT, json.dumps(transport))
    done = []
    with job_run("archive_events", [], []):
        done.append(True)
    assert done
    assert capsys.readouterr().err.count("lineage: events are not sent: ") == 1


def test_without_a_transport_nothing_is_emitted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(TRANSPORT, raising=False)
    with job_run("archive_events", [], []):
        pass
    assert capsys.readouterr() == ("", "")


def test_lines_of_writers_at_once_do_not_mix(folder: Path) -> None:
    wide = [folder_dataset(Path("/" + "x" * 20_000))]

    def write(number: int) -> None:
        client = OpenLineageClient()
        for _ in range(20):
            client.emit(run_event("START", f"job{number}", RUN_ID, wide, wide))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(event["job"]["name"] for event in events(folder)) == sorted(
        f"job{number}" for number in range(4) for _ in range(20)
    )


def test_old_files_go_and_other_files_stay(tmp_path: Path) -> None:
    beginning = tmp_path / "events"
    for name in (
        "events-2026-11-01.jsonl",
        "events-2026-11-13.jsonl",
        "events-x.jsonl",
        "other-2026-11-01.jsonl",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in remove_older(beginning, date(2026, 11, 13))] == ["events-2026-11-01.jsonl"]
    assert len(list(tmp_path.iterdir())) == 3


def test_the_first_event_of_a_day_removes_what_is_too_old(folder: Path) -> None:
    folder.mkdir()
    (folder / "events-2020-01-01.jsonl").touch()
    OpenLineageClient().emit(run_event("START", "job", RUN_ID, [], []))
    assert len(events(folder)) == 1


def test_the_setting_is_read_by_the_transport(tmp_path: Path) -> None:
    config = DailyFileConfig.from_dict(json.loads(transport_setting(tmp_path)))
    assert (config.log_file_path, config.append, config.keep_days) == (str(tmp_path / "events"), True, 7)


@pytest.mark.parametrize(
    ("dag_id", "told"),
    [
        (Dag.MODEL, True), (Dag.ARCHIVE, True), (Dag.SESSIONIZE, True),
        (Dag.SEND_TICK, False), (Dag.WATCH_PROGRESS, False), (Dag.WATCH_PRODUCERS, False),
        (Dag.TRACE_VALUE, False), ("privacy__erase_user", False),
    ],
)  # fmt: skip
def test_runs_that_move_no_data_or_whose_form_names_a_reader_are_told_to_nobody(
    dag_id: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.openlineage.utils import emission_policy

    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EMISSION_POLICY", EMISSION_POLICY)
    assert emission_policy.resolve_dag_emission_policy(dag_id).emit is told
