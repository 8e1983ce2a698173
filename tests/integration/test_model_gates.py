"""Both gates of features__model through the provider's operator, on a real PostgreSQL and a Slack stand-in."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from include.common.names import MARTS
from include.gx.history import MIN_CUTS, MIN_READINGS
from include.orchestration import model
from include.orchestration.dbt.build import report_warnings, warnings_of
from include.orchestration.gate_history.links import PAGE_KEY
from include.orchestration.gates import FAILED_KEY, GateOperator, GateRejectedError
from include.orchestration.model import tasks
from tests.integration.model_store import AS_OF, Store, seed_small_case

GATES = {"gate_sessions": tasks.SESSION_GATE, "gate_marts": "feature_marts"}
SECRET_USER, SECRET_SESSION = "reader-who-must-not-leak", "session-which-must-not-leak"


@dataclass
class Run:
    """One run of the DAG: its cut, and what its tasks pushed."""

    store: Store
    run_id: str
    docs: Path
    pushed: dict[tuple[str, str], Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)

    def fix_cut(self) -> model.Cut:
        """Task fix_cut."""
        self.pushed[("fix_cut", "return_value")] = tasks.fix_cut(run_id=self.run_id)
        return model.Cut(**self.pushed[("fix_cut", "return_value")])

    def gate(self, task_id: str, subjects: Callable[..., Any]) -> None:
        """Task gate_sessions or gate_marts: the operator's own execute."""
        operator = GateOperator(
            task_id=task_id,
            gate=GATES[task_id],
            subjects=subjects,
            on_rejected=tasks.reject_cut,
            runbook="features_model",
            owner="feature-store",
        )
        ti = SimpleNamespace(
            id=f"{self.run_id}.{task_id}",
            task_id=task_id,
            task=operator,
            dag_id="features__model",
            run_id=self.run_id,
            start_date=datetime.now(UTC),
            try_number=1,
            map_index=-1,
            log_url=f"http://airflow/{self.run_id}",
            xcom_push=lambda key, value: self.pushed.__setitem__((task_id, key), value),
            xcom_pull=lambda task_ids, key="return_value": self.pushed.get((task_ids, key)),
        )
        dag_run = SimpleNamespace(dag_id="features__model", run_id=self.run_id)
        context: Any = {
            "ti": ti,
            "task_instance": ti,
            "dag_run": dag_run,
            "run_id": self.run_id,
            "params": self.params,
        }
        operator.execute(context)

    def gate_sessions(self) -> None:
        """Task gate_sessions."""
        self.gate("gate_sessions", tasks.session_subjects)

    def gate_marts(self) -> None:
        """Task gate_marts."""
        self.gate("gate_marts", tasks.mart_subjects)

    def dbt(self) -> None:
        """The Cosmos groups' work, in one go."""
        self.store.dbt(["build", "--exclude-resource-type", "unit_test"], self.docs.parent / "target")

    def results(self, *, success: bool) -> list[tuple[Any, ...]]:
        """This run's rows of quality.gate_results."""
        return self.store.execute(
            "SELECT gate, subject, expectation, severity, unexpected_count, element_count, observed_value "
            "FROM quality.gate_results WHERE run_id = %s AND success = %s ORDER BY gate_result_id",
            (self.run_id, success),
        )


@pytest.fixture
def store(feature_db: str, slack_receiver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The small case, with the connections a task has."""
    parts = urlsplit(feature_db)
    postgres = {
        "conn_type": "postgres", "host": parts.hostname, "port": parts.port, "login": parts.username,
        "password": parts.password, "schema": parts.path.strip("/"),
    }  # fmt: skip
    slack = {
        "conn_type": "slackwebhook", "schema": "http", "host": f"{slack_receiver.address}/services",
        "password": "T/B/X",
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_FEATURES", json.dumps(postgres))
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", json.dumps(slack))
    monkeypatch.setenv("AIRFLOW_VAR_WEBTOON_DOCS_URL", "http://docs:18081")
    monkeypatch.setenv("AIRFLOW_VAR_WEBTOON_RUNBOOK_URL", "http://runbooks/")
    monkeypatch.setenv("WEBTOON_DOCS_DIR", str(tmp_path / "docs"))
    store = Store(feature_db)
    seed_small_case(store)
    return store


@pytest.fixture
def new_run(store: Store, tmp_path: Path) -> Callable[[str], Run]:
    """`new_run(run_id)`."""
    return lambda run_id: Run(store, run_id, tmp_path / "docs")


def published(store: Store) -> dict[str, Any]:
    return {mart: store.table(f"marts.{mart}", "1") for mart in MARTS}


def test_good_run_is_published_and_what_a_gate_blocks_is_not(
    store: Store, new_run: Callable[[str], Run], slack_receiver: Any
) -> None:
    good = new_run("good")
    cut = good.fix_cut()
    good.gate_sessions()
    good.dbt()
    good.gate_marts()
    tasks.publish(cut=cut.as_dict())
    before = published(store)
    assert [len(rows) for rows in before.values()] == [3, 4, 3]
    checked = {(row[0], row[1]) for row in good.results(success=True)}
    assert checked == {
        ("session_features", "realtime.session_features"),
        *(("feature_marts", f"marts_candidate.{mart}") for mart in MARTS),
    }
    # e9 is unknown to reference: 1 of 4 episodes, more than the warning allows; a warning does not block
    assert [row[2:6] for row in good.results(success=False)] == [
        ("episodes_known_to_reference", "warning", 1, 4)
    ]
    # nothing became final since: nothing new to check of sessions and readers
    store.batch()
    quiet = new_run("quiet")
    quiet.fix_cut()
    quiet.gate_sessions()
    quiet.dbt()
    quiet.gate_marts()
    assert [row[2] for row in quiet.results(success=False)] == ["episodes_known_to_reference"]
    assert {row[1] for row in quiet.results(success=True)} == {
        subject for _, subject in checked if subject != "marts_candidate.user_features"
    }
    messages_before = len(slack_receiver.messages())

    bad = new_run("bad")
    store.reading(
        store.batch(),
        SECRET_SESSION,
        "e1",
        SECRET_USER,
        AS_OF,
        status="completed",
        completion=0.5,
        country="ZZ",
        offset=41,
    )
    rejected = bad.fix_cut()
    assert rejected.ledger_position > cut.ledger_position
    with pytest.raises(GateRejectedError, match="completed_means_completion_rate_1"):
        bad.gate_sessions()
    assert bad.pushed[("gate_sessions", FAILED_KEY)] == [
        "country_allowed",
        "completed_means_completion_rate_1",
    ]
    by_rule = {row[2]: row for row in bad.results(success=False)}
    # the one reading that became final since; the others were checked before
    offsets = ["webtoon_user_events[0]@41"]
    assert by_rule["country_allowed"][3:] == ("critical", 1, 1, {"sample": ["ZZ"], "offsets": offsets})
    assert by_rule["completed_means_completion_rate_1"][4] == 1
    assert store.execute("SELECT status FROM ops.model_cuts ORDER BY cut_id") == [
        ("published",),
        ("rejected",),
        ("rejected",),
    ]
    with pytest.raises(model.CandidateMismatchError):
        tasks.publish(cut=rejected.as_dict())
    assert published(store) == before

    [message] = slack_receiver.messages()[messages_before:]
    told = json.dumps(message["payload"])
    assert "country_allowed" in told
    assert "ZZ; at webtoon_user_events[0]@41" in told
    assert "features_model" in told
    assert "Owner: feature-store" in told
    assert f"http://docs:18081/{bad.pushed[('gate_sessions', PAGE_KEY)]}|Data Docs" in told
    assert bad.pushed[("gate_sessions", PAGE_KEY)].startswith("gx/validations/")
    everything = told + str(bad.pushed) + str(bad.results(success=False))
    pages = [path for path in bad.docs.rglob("*") if path.suffix in (".html", ".json")]
    assert any(path.suffix == ".html" and "validations" in path.parts for path in pages)
    everything += "".join(path.read_text() for path in pages)
    assert SECRET_USER not in everything
    assert SECRET_SESSION not in everything


def test_quantiles_of_new_readings_are_compared_with_those_of_earlier_cuts(
    store: Store, new_run: Callable[[str], Run], slack_receiver: Any
) -> None:
    def cut_with(run_id: str, dwell_ms: int) -> dict[str, tuple[Any, ...]]:
        """A published cut with MIN_READINGS new readings; what its gate said of their quantiles, by column."""
        position = store.batch()
        for number in range(MIN_READINGS):
            store.reading(
                position, f"{run_id}-{number}", "e1", "u1", AS_OF, scroll=0.5, dwell_ms=dwell_ms + number
            )
        run = new_run(run_id)
        cut = run.fix_cut()
        run.gate_sessions()
        store.execute(
            "UPDATE ops.model_cuts SET status = 'published', published_at = now() WHERE cut_id = %s",
            (cut.cut_id,),
        )
        rows = store.execute(
            "SELECT column_name, success, element_count, not_checked, observed_value -> 'observed' -> 'values'"
            " FROM quality.gate_results WHERE run_id = %s AND expectation LIKE '%%_quantiles_as_before'",
            (run_id,),
        )
        return {row[0]: row[1:] for row in rows}

    young = cut_with("young", 1000)
    # five readings of the small case are new in it, too
    assert young["new_dwell_time_ms"][:3] == (None, 105, "0 earlier cuts, 10 needed")
    copies = [MIN_CUTS - 2]  # as if as many cuts like it had followed
    store.execute(
        "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
        " SELECT run_id || number, generation, ledger_position, as_of, status, now()"
        " FROM ops.model_cuts CROSS JOIN generate_series(1, %s) AS number",
        copies,
    )
    store.execute(
        "INSERT INTO quality.gate_results (gate, dag_id, run_id, subject, expectation, severity, success,"
        " element_count, observed_value, not_checked) SELECT gate, dag_id, run_id || number, subject, expectation,"
        " severity, success, element_count, observed_value, not_checked"
        " FROM quality.gate_results CROSS JOIN generate_series(1, %s) AS number",
        copies,
    )
    assert cut_with("last-young", 1000)["new_dwell_time_ms"][:3] == (None, 100, "9 earlier cuts, 10 needed")
    usual = cut_with("usual", 1040)
    assert {column: row[:3] for column, row in usual.items()} == dict.fromkeys(
        ("new_dwell_time_ms", "new_event_count", "new_scroll_event_count"), (True, 100, None)
    )
    assert usual["new_dwell_time_ms"][3] == [1089, 1138]
    told = len(slack_receiver.messages())
    outlying = cut_with("outlying", 3000)
    assert outlying["new_dwell_time_ms"][0] is False
    assert outlying["new_event_count"][0] is True
    [message] = slack_receiver.messages()[told:]
    assert "[warning] new_dwell_time_ms_quantiles_as_before" in message["payload"]["text"]


def test_personal_values_are_left_out_where_their_own_column_fails(
    store: Store, new_run: Callable[[str], Run], slack_receiver: Any
) -> None:
    too_long = "leaking-reader-" + "x" * 128
    store.reading(store.batch(), "s10", "e1", too_long, AS_OF)
    run = new_run("long-id")
    run.fix_cut()
    with pytest.raises(GateRejectedError, match=r"user_id_length.*1 of 6 rows") as refused:
        run.gate_sessions()
    pages = [path for path in run.docs.rglob("*") if path.suffix in (".html", ".json")]
    everything = "".join(path.read_text() for path in pages) + str(refused.value) + str(run.pushed)
    everything += str(run.results(success=False)) + json.dumps(slack_receiver.messages())
    assert "user_id_length" in everything
    assert "leaking-reader" not in everything


DAMAGES = {
    "user_exit_rate_in_range": "UPDATE marts_candidate.user_features SET user_exit_rate = 1.5 WHERE user_id = 'u1'",
    "volume_against_published": "DELETE FROM marts_candidate.episode_features WHERE episode_id > 'e1'",
    "device_allowed": "UPDATE marts_candidate.segment_features SET device = 'watch' WHERE country = 'US'",
}
"""Rule of the gate -> what breaks it, and no other; each in another mart."""


def test_a_damaged_candidate_does_not_reach_the_marts(store: Store, new_run: Callable[[str], Run]) -> None:
    first = new_run("first")
    cut = first.fix_cut()
    first.dbt()
    tasks.publish(cut=cut.as_dict())
    before = published(store)
    second = new_run("second")
    store.reading(store.batch(), "s20", "e1", "u1", AS_OF)
    second.fix_cut()
    second.dbt()
    for damage in DAMAGES.values():
        store.execute(damage)
    with pytest.raises(GateRejectedError):
        second.gate_marts()
    assert sorted(second.pushed[("gate_marts", FAILED_KEY)]) == sorted(DAMAGES)
    second.params[tasks.ACCEPT_FEWER] = True
    with pytest.raises(GateRejectedError):
        second.gate_marts()
    assert sorted(second.pushed[("gate_marts", FAILED_KEY)]) == sorted(
        set(DAMAGES) - {"volume_against_published"}
    )
    assert published(store) == before
    assert store.execute("SELECT status FROM ops.model_cuts ORDER BY cut_id") == [
        ("published",),
        ("rejected",),
    ]


def test_a_dbt_warning_is_recorded_each_time_and_told_once_an_hour(
    store: Store, slack_receiver: Any, tmp_path: Path
) -> None:
    def artefacts(*names: str) -> Path:
        """What dbt leaves of tests that warned, and of one that passed."""
        ids = {name: f"test.webtoon.{name}.1" for name in (*names, "passed")}
        nodes = {
            unique_id: {
                "unique_id": unique_id,
                "name": name,
                "attached_node": "model.webtoon.episode_features",
            }
            for name, unique_id in ids.items()
        }
        message = "Got 1 result, configured to warn if != 0"
        results = [
            {"unique_id": ids[name], "status": "warn", "failures": 1, "message": message} for name in names
        ]
        results.append({"unique_id": ids["passed"], "status": "pass", "failures": 0, "message": None})
        (tmp_path / "manifest.json").write_text(json.dumps({"nodes": nodes}))
        (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
        return tmp_path

    def warn(run_id: str, *names: str) -> int:
        before = len(slack_receiver.messages())
        ti = SimpleNamespace(
            task_id="dbt.dbt_producer_watcher", dag_id="features__model", id=run_id,
            start_date=datetime.now(UTC),
            log_url=f"http://airflow/{run_id}",
        )  # fmt: skip
        context = {"ti": ti, "dag_run": SimpleNamespace(dag_id="features__model", run_id=run_id)}
        report_warnings(context, warnings_of(artefacts(*names)))
        return len(slack_receiver.messages()) - before

    assert warn("first", "episode_is_known") == 1
    told = slack_receiver.messages()[-1]["payload"]["text"]
    assert "[warning] episode_is_known on marts_candidate.episode_features: observed Got 1 result" in told
    assert warn("second", "episode_is_known") == 0
    assert warn("third", "episode_is_known", "another") == 1
    store.execute("UPDATE quality.gate_results SET checked_at = checked_at - interval '1 hour'")
    assert warn("an hour later", "episode_is_known") == 1
    assert store.execute(
        "SELECT gate, severity, success, count(*) FROM quality.gate_results GROUP BY 1, 2, 3"
    ) == [("dbt_tests", "warning", False, 5)]
