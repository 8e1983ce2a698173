"""DAG features__model on a whole Airflow, and what its asset starts: good, blocked by a corrupt reading, mended."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import psycopg
import pyarrow as pa
import pytest

from include.common.migrate import migrate
from include.common.names import MARTS, Dag
from include.contract.rules import SessionRules
from include.contract.sessions import Reading
from include.spark_jobs.stream_sessionize.changes import Tally, readings_schema, readings_to_arrow
from include.spark_jobs.stream_sessionize.generations import Generation, Plan
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.writer import MicroBatchWriter
from local_stack.demo.clock import Clock
from local_stack.demo.runs import Runs
from local_stack.slack_receiver import as_text
from tests.integration.conftest import AirflowStack
from tests.integration.lineage_support import Lineage, names

GENERATION = 9001
"""Not one of a real stream's: other tests share this Airflow and its feature database."""
START_MS = 1_789_000_000_000  # 2026-09-10T00:26:40Z
DT = "2026-09-10"
EPISODES = [f"model-dag-ep{number}" for number in range(4)]
DBT = {
    f"dbt.{model}.{step}"
    for model in (
        "int_model_cut", "int_touched_users", "int_touched_readings", "int_episode_totals", "int_segment_totals",
        "user_features", "episode_features", "segment_features",
    )
    for step in ("run", "test")
} | {"dbt.dbt_producer_watcher", "dbt.dbt_producer_watcher_done"}  # fmt: skip
AFTER_FIRST_GATE = {*DBT, "gate_marts", "publish"}


def reading(number: int, **changes: Any) -> Reading:
    """A final, completed reading; `number` makes its session, episode and user."""
    start_ms = START_MS + number * 1000
    fields: dict[str, Any] = dict.fromkeys(Reading._fields)
    fields |= {
        "session_id": f"model-dag-s{number}", "session_start_ms": start_ms, "episode_id": EPISODES[number % 4],
        "user_id": f"model-dag-u{number % 7}", "country": "KR", "device": "phone", "platform": "ios",
        "status": "completed", "is_exit_tag": False, "completion_rate": 1.0, "max_scroll_ratio": 0.75,
        "event_count": 3, "scroll_event_count": 1, "dwell_time_ms": 1000, "started_at_ms": start_ms,
        "ended_at_ms": start_ms + 60_000, "is_final": True, "source_partition": 0, "last_offset": number,
        "last_event_kafka_ms": start_ms + 60_500,
    }  # fmt: skip
    return Reading(**{**fields, **changes})


class Model:
    """The stream's own writer on one side, Airflow's REST API on the other."""

    def __init__(self, stack: AirflowStack) -> None:
        self.stack = stack
        plan = Plan(buckets_per_partition=1, state_partitions=1, rules=SessionRules())
        generation = Generation(GENERATION, Path("none"), {"0": 0}, plan)
        landing = stack.context.paths.data / "landing"
        self.writer = MicroBatchWriter(stack.feature_dsn, landing, "model-dag", generation)
        self.batches = 0

    def commit(self, *readings: Reading) -> None:
        """One micro-batch: landing file, ledger row, readings and their sums, in the stream's transaction."""
        number, count = self.batches, len(readings)
        table = pa.Table.from_batches([readings_to_arrow(list(readings))], schema=readings_schema())
        tally = Tally([], [], count, 0, 0, START_MS)
        assert self.writer.write(MicroBatch(number, {"0": number}, {"0": number + 1}, table, [tally]))
        self.batches += 1

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of one statement in its own transaction."""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def run(self) -> tuple[str, str, dict[str, str]]:
        """A new run's id, its state and the states of its tasks; the run that unpausing begins, the first time."""
        run_id = Runs(self.stack.api, Clock(steps=1)).start(Dag.MODEL)
        state = self.stack.api.wait_for_run(Dag.MODEL, run_id, timeout_s=240)
        return run_id, state, self.stack.api.task_states(Dag.MODEL, run_id)

    def marts(self) -> dict[str, list[Any]]:
        """All published rows."""
        return {mart: self.sql(f"SELECT to_jsonb(t) FROM marts.{mart} AS t ORDER BY 1") for mart in MARTS}

    def known_episodes(self) -> int:
        """Episodes that reference knows at the cut: of other tests, too."""
        query = "SELECT count(*) FROM reference.episode_metadata WHERE to_timestamp(%s) BETWEEN valid_from AND valid_to"
        return int(self.sql(query, START_MS / 1000)[0][0])

    def messages(self, since: int, run_id: str, *words: str) -> list[str]:
        """Slack messages after the first `since` that link to the run and hold all `words`."""
        texts = (unquote(as_text(message["payload"])) for message in self.stack.slack.messages()[since:])
        return [text for text in texts if all(word in text for word in (f"/runs/{run_id}/", *words))]

    def status_of_cut(self, run_id: str) -> str:
        """open, published or rejected."""
        return str(self.sql("SELECT status FROM ops.model_cuts WHERE run_id = %s", run_id)[0][0])

    def started_by(self, dag_id: str, model_run: str) -> str:
        """Run of `dag_id` that the asset event of `model_run` started; awaited for a minute."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for run in self.stack.api.runs(dag_id):
                path = f"/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'])}/upstreamAssetEvents"
                events = self.stack.api.call("GET", path)["asset_events"]
                if model_run in {event["source_run_id"] for event in events}:
                    return str(run["dag_run_id"])
            time.sleep(0.5)
        pytest.fail(f"the asset of {model_run} started no run of {dag_id}", pytrace=False)

    def asset_events(self, model_run: str) -> int:
        """How often the run announced the marts."""
        answer = self.stack.api.call("GET", f"/assets/events?source_run_id={quote(model_run)}")
        return len(answer["asset_events"])

    def returned(self, dag_id: str, run_id: str, task_id: str) -> str:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/xcomEntries/return_value"
        return str(self.stack.api.call("GET", path)["value"])

    def page(self, path: str) -> str:
        """A page of the docs server."""
        address = f"http://{self.stack.context.ports.address('docs')}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def model(airflow_stack: AirflowStack) -> Iterator[Model]:
    """40 good readings of a generation of this module's own, which goes when the module ends."""
    migrate(airflow_stack.feature_dsn)
    model = Model(airflow_stack)
    current = model.sql(
        "UPDATE ops.stream_generations SET status = 'retired' WHERE status = 'current' RETURNING generation"
    )
    model.sql(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (%s, 'current', 'none', '{}')",
        GENERATION,
    )
    model.sql(
        "INSERT INTO reference.thresholds SELECT name, value, 'x', 'model-dag', '-infinity', 'infinity' FROM (VALUES"
        " ('popularity_window_days', 7), ('popularity_half_life_hours', 24), ('popularity_exited_weight', 0.5))"
        " AS wanted (name, value) WHERE NOT EXISTS (SELECT FROM reference.thresholds AS known"
        " WHERE known.name = wanted.name)"
    )
    model.sql(
        "INSERT INTO reference.episode_metadata (episode_id, title_id, title, episode_number, genre, tags, rating,"
        " launch_date, valid_from) SELECT unnest(%s::text[]), 't', 'T', 1, 'drama', '{love}', 8, '2026-01-01',"
        " '2026-01-01'",
        EPISODES,
    )
    for mart in MARTS:  # the gate compares volumes with what is published
        model.sql(f"DELETE FROM marts.{mart}")
    model.commit(*(reading(number) for number in range(40)))
    dags = (Dag.MODEL, Dag.PUBLISH_BATCH, Dag.BUILD_DOCS)
    airflow_stack.api.wait_for_dags(set(dags), timeout_s=60)
    for dag_id in (Dag.PUBLISH_BATCH, Dag.BUILD_DOCS):
        airflow_stack.api.set_paused(dag_id, False)
    yield model
    for dag_id in dags:
        airflow_stack.api.set_paused(dag_id, True)
    model.writer.close()
    for statement in (
        "DELETE FROM ops.publications WHERE cut_id IN (SELECT cut_id FROM ops.model_cuts WHERE generation = %s)",
        "DELETE FROM ops.model_cuts WHERE generation = %s",
        "DELETE FROM realtime.session_features WHERE generation = %s",
        "DELETE FROM realtime.user_features WHERE generation = %s",
        "DELETE FROM realtime.episode_features WHERE generation = %s",
        "DELETE FROM ops.stream_batches WHERE generation = %s",
        "DELETE FROM ops.stream_generations WHERE generation = %s",
    ):
        model.sql(statement, GENERATION)
    model.sql("DELETE FROM reference.thresholds WHERE meaning = 'model-dag'")
    model.sql("DELETE FROM reference.episode_metadata WHERE episode_id = ANY(%s)", EPISODES)
    for mart in MARTS:
        model.sql(f"DELETE FROM marts.{mart}")
    for (generation,) in current:
        model.sql("UPDATE ops.stream_generations SET status = 'current' WHERE generation = %s", generation)


@pytest.fixture(scope="module")
def good_run(model: Model) -> str:
    """Id of a run that published the good readings."""
    run_id, state, tasks = model.run()
    assert (state, tasks) == (
        "success",
        dict.fromkeys({"fix_cut", "gate_sessions", *AFTER_FIRST_GATE}, "success"),
    )
    assert model.status_of_cut(run_id) == "published"
    assert {mart: len(rows) for mart, rows in model.marts().items()} == {
        "user_features": 7,
        "episode_features": model.known_episodes(),
        "segment_features": 1,
    }
    assert model.asset_events(run_id) == 1
    return run_id


def test_published_marts_and_readings_come_to_hive(model: Model, good_run: str) -> None:
    run_id = model.started_by(Dag.PUBLISH_BATCH, good_run)
    assert model.stack.api.wait_for_run(Dag.PUBLISH_BATCH, run_id, timeout_s=180) == "success"
    assert model.stack.api.task_states(Dag.PUBLISH_BATCH, run_id) == dict.fromkeys(
        ("publish_features", "list_partitions", "await_partitions", "verify_counts", "remove_brought_changes",
         "remove_old_folders"), "success"
    )  # fmt: skip
    # of any run: where the clock strikes ten minutes, another one may have taken the readings
    published = dict(
        model.sql(
            "SELECT hive_table || '/' || partition_spec, row_count FROM ops.publications ORDER BY published_at"
        )
    )
    assert published[f"session_features/dt={DT}"] == 40
    assert published[f"user_features_daily/dt={DT}"] == 7
    model.stack.api.set_paused(Dag.PUBLISH_BATCH, True)  # what follows is about features__model alone


def test_docs_of_dbt_and_of_the_gates_can_be_read(model: Model, good_run: str) -> None:
    run_id = model.started_by(Dag.BUILD_DOCS, good_run)
    assert model.stack.api.wait_for_run(Dag.BUILD_DOCS, run_id, timeout_s=120) == "success"
    assert "model.webtoon.user_features" in model.page("/dbt/")
    index = model.page("/gx/")
    assert "realtime.session_features" in index
    assert "marts_candidate.user_features" in index
    pages = set(re.findall(r"validations/[\w/.%+-]+?\.html", index))
    assert pages
    shown = [model.page(f"/gx/{page}") for page in pages]
    assert all("Evaluated Expectations" in page for page in shown)
    assert any("scroll_event_count" in page for page in shown)
    model.stack.api.set_paused(Dag.BUILD_DOCS, True)


def test_lineage_of_a_task_a_dbt_model_and_a_spark_job(model: Model, good_run: str) -> None:
    lineage = Lineage(model.stack.context.paths.lineage)
    publish_run = model.started_by(Dag.PUBLISH_BATCH, good_run)

    def of_run(run_id: str) -> Callable[[dict[str, Any]], bool]:
        return lambda event: f'"run_id": "{run_id}"' in json.dumps(event["run"]["facets"])

    store = "features"
    expected = {
        f"{Dag.MODEL}.fix_cut": (
            {f"{store}.ops.stream_batches", f"{store}.realtime.session_features"}, {f"{store}.ops.model_cuts"},
        ),
        f"{Dag.MODEL}.gate_sessions": (
            {f"{store}.realtime.session_features"}, {f"{store}.quality.gate_results"},
        ),
        f"{Dag.MODEL}.publish": (
            {f"{store}.marts_candidate.{mart}" for mart in MARTS}, {f"{store}.marts.{mart}" for mart in MARTS},
        ),
    }  # fmt: skip
    for job, (inputs, outputs) in expected.items():
        lineage.await_event(job, "START", of_run(good_run))
        complete = lineage.await_event(job, "COMPLETE", of_run(good_run))
        assert (names(complete, "inputs"), names(complete, "outputs")) == (inputs, outputs), job
        assert {it["namespace"].partition(":")[0] for it in complete["inputs"]} == {"postgres"}
    build = lineage.await_event(f"{Dag.MODEL}.dbt.dbt_producer_watcher", "COMPLETE", of_run(good_run))
    assert names(build, "outputs") >= {f"{store}.marts_candidate.{mart}" for mart in MARTS}
    user_features = lineage.await_event(
        f"{store}.marts_candidate.webtoon.user_features.build.run",
        "COMPLETE",
        lambda event: bool(event["run"]["facets"]["parent"]["run"]["runId"] == build["run"]["runId"]),
    )
    assert names(user_features, "inputs") == {f"{store}.marts_candidate.int_touched_readings"}
    assert names(user_features, "outputs") == {f"{store}.marts_candidate.user_features"}
    gate = lineage.await_event(f"{Dag.MODEL}.gate_sessions", "COMPLETE", of_run(good_run))
    verdicts = gate["inputs"][0]["facets"]["dataQualityAssertions"]["assertions"]
    assert {"assertion": "country_allowed", "success": True, "column": "country"}.items() <= next(
        it for it in verdicts if it["assertion"] == "country_allowed"
    ).items()

    task = lineage.await_event(f"{Dag.PUBLISH_BATCH}.publish_features", "COMPLETE", of_run(publish_run))

    def of_task(event: dict[str, Any]) -> bool:
        return bool(event["run"]["facets"]["parent"]["run"]["runId"] == task["run"]["runId"])

    started = lineage.await_event("publish_features", "START", of_task)
    done = lineage.await_event("publish_features", "COMPLETE", of_task)
    assert started["run"]["runId"] == done["run"]["runId"]
    assert {f"{store}.marts.user_features", str(model.stack.context.paths.data / "landing")} <= names(
        done, "inputs"
    )
    assert names(done, "outputs") >= {"webtoon.session_features", "webtoon.user_features_daily"}
    [sessions] = [it for it in done["outputs"] if it["name"] == "webtoon.session_features"]
    assert "dwell_time_ms" in {field["name"] for field in sessions["facets"]["schema"]["fields"]}
    lineage.await_event(Dag.MODEL, "COMPLETE", of_run(good_run))


def test_the_form_traces_a_published_value_to_a_page(model: Model, good_run: str) -> None:
    for value, state in (
        ("marts.user_features/model-dag-u1", "success"),
        ("marts.user_features/nobody", "failed"),
    ):
        model.stack.api.set_paused(Dag.TRACE_VALUE, False)
        run_id = model.stack.api.trigger(Dag.TRACE_VALUE, {"traced_value": value})
        assert model.stack.api.wait_for_run(Dag.TRACE_VALUE, run_id, timeout_s=120) == state
        if state == "success":
            page = model.page("/" + model.returned(Dag.TRACE_VALUE, run_id, "trace_value"))
            assert good_run in page
            for words in (
                "session_features",
                "feature_marts",
                "model-dag-u1",
                "none differs",
                "Micro-batches",
            ):
                assert words in page, words
            assert "model-dag-s" not in page  # sessions of the reader, which nobody typed
    model.stack.api.set_paused(Dag.TRACE_VALUE, True)
    told = Lineage(model.stack.context.paths.lineage).events()
    assert [event for event in told if event["job"]["name"].startswith(Dag.TRACE_VALUE)] == []
    assert not any("nobody" in as_text(message["payload"]) for message in model.stack.slack.messages())


@pytest.mark.long
def test_a_cleared_run_reads_its_cut_again_model_by_model(model: Model, good_run: str) -> None:
    before = model.marts()
    assert model.status_of_cut(good_run) == "published"
    model.stack.api.call("POST", f"/dags/{Dag.MODEL}/dagRuns/{quote(good_run)}/clear", {"dry_run": False})
    assert model.stack.api.wait_for_run(Dag.MODEL, good_run, timeout_s=400) == "success"
    tasks = model.stack.api.task_states(Dag.MODEL, good_run)
    assert (
        tasks.pop("dbt.dbt_producer_watcher") == "skipped"
    )  # it builds once; each task then runs its own model
    assert tasks == dict.fromkeys(
        {"fix_cut", "gate_sessions", *AFTER_FIRST_GATE} - {"dbt.dbt_producer_watcher"}, "success"
    )
    assert model.marts() == before


@pytest.mark.timeout(400)
def test_a_corrupt_reading_blocks_the_run_until_it_is_mended(model: Model, good_run: str) -> None:
    before = model.marts()
    told = len(model.stack.slack.messages())
    model.commit(reading(40), reading(41, completion_rate=0.9, country="ZZ"))
    run_id, state, tasks = model.run()
    assert (state, tasks) == (
        "failed",
        {
            "fix_cut": "success",
            "gate_sessions": "failed",
            **dict.fromkeys(AFTER_FIRST_GATE, "upstream_failed"),
        },
    )
    assert model.status_of_cut(run_id) == "rejected"
    assert model.marts() == before
    assert model.asset_events(run_id) == 0
    messages = [as_text(message["payload"]) for message in model.stack.slack.messages()[told:]]
    [message] = [
        text for text in messages if run_id.split("T")[0] in text and "gate session_features" in text
    ]
    assert "features__model: gate session_features blocks" in message
    assert "country_allowed on realtime.session_features.country: 1 of 2 rows; for instance ZZ" in message
    assert "completed_means_completion_rate_1" in message
    assert f"/dags/{Dag.MODEL}/runs/" in message
    assert "docs/runbooks/features_model.md" in message

    model.commit(reading(41), reading(42, episode_id="model-dag-unknown"))
    run_id, state, _ = model.run()
    assert state == "success"
    assert model.status_of_cut(run_id) == "published"
    assert sum(row[0]["final_reading_count"] for row in model.marts()["user_features"]) == 43
    [warning] = model.messages(told, run_id, "gate dbt_tests warns")
    assert "episode_is_known_to_reference on marts_candidate.episode_features" in warning
