"""Deleting runs through a real HTTP server, logs and pages, and what the search says of its settings."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.common.erasure.needles import Needles
from include.orchestration.erasure.airflow_rest import AirflowRefusedError, AirflowRest
from include.orchestration.erasure.airflow_traces import erase_files, erase_runs
from include.orchestration.erasure.finding import Finding, FoundError
from include.orchestration.erasure.search import (
    MENDS,
    lineage_folder,
    require_nothing,
    stores_not_searched,
)


class Api(BaseHTTPRequestHandler):
    """As Airflow's API answers: one user, one token, runs that are there, gone or going on."""

    everybody_is_admin = False

    def _answer(self, status: int, content: object = None) -> None:
        self.send_response(status)
        self.end_headers()
        if content is not None:
            self.wfile.write(json.dumps(content).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = body == {"username": "admin", "password": "right"}
        self._answer(*((201, {"access_token": "t"}) if good else (401, {"detail": "no"})))

    def do_GET(self) -> None:
        self._answer(*((201, {"access_token": "t"}) if self.everybody_is_admin else (403, {"detail": "no"})))

    def do_DELETE(self) -> None:
        states = {"there": 204, "gone": 404, "going%20on": 409, "not%20mine": 403}
        status = states[self.path.rsplit("/", 1)[1]]
        self._answer(401 if self.headers["Authorization"] != "Bearer t" else status)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_runs_are_deleted(api: str) -> None:
    rest = AirflowRest(api, "admin", "right")
    assert rest.delete_run("d", "there")
    assert not rest.delete_run("d", "gone")
    assert AirflowRest(api, "", "t").delete_run("d", "there"), "a password alone is a token"
    with pytest.raises(AirflowRefusedError, match="still goes on"):
        rest.delete_run("d", "going on")
    with pytest.raises(AirflowRefusedError, match="must be allowed to"):
        rest.delete_run("d", "not mine")


def test_who_may_sign_in(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowRefusedError, match="set its login and password"):
        AirflowRest(api, "admin", "wrong")
    monkeypatch.setattr(Api, "everybody_is_admin", True)
    assert AirflowRest(api, "admin", "wrong").delete_run("d", "there")
    with pytest.raises(AirflowRefusedError, match="does not answer"):
        AirflowRest("http://127.0.0.1:1", "admin", "right")


def test_logs_of_a_run_go_with_it(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for dag_id, run_id in (("d", "r1"), ("d", "r2"), ("e", "r1")):
        folder = logs / f"dag_id={dag_id}" / f"run_id={run_id}" / "task_id=t"
        folder.mkdir(parents=True)
        (folder / "attempt=1.log").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    told: list[tuple[str, str]] = []

    def delete(dag_id: str, run_id: str) -> bool:
        told.append((dag_id, run_id))
        return run_id == "r1"

    assert erase_runs({("d", "r1"), ("d", "r3"), ("d", "../../../outside")}, delete, logs) == 1
    assert told == [("d", "../../../outside"), ("d", "r1"), ("d", "r3")]
    assert sorted(path.name for path in logs.glob("*/*")) == ["run_id=r1", "run_id=r2"]
    assert outside.is_dir(), "a run's id is no way out of the folder"


def test_pages_that_show_the_reader_go(tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "1.html").write_text("<b>reader-7</b>")
    (tmp_path / "trace" / "2.html").write_text("<b>reader-77</b>")
    assert erase_files(tmp_path, Needles("reader-7")) == 1
    assert erase_files(tmp_path, Needles("reader-7")) == 0
    assert [path.name for path in tmp_path.glob("*/*")] == ["2.html"]


def test_what_a_find_says() -> None:
    require_nothing(3, [Finding("kafka", 0, 10)])
    with pytest.raises(FoundError) as raised:
        require_nothing(3, [Finding(store, 1, 10, ["a place"]) for store in MENDS])
    told = str(raised.value)
    assert told.startswith("the reader of erasure 3 still stands in feature database: a place (")
    assert [store for store, mend in MENDS.items() if f"{store}: a place ({mend})" not in told] == []


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lineage_folder('{"type": "x", "log_file_path": "/a/lineage/events"}') == Path("/a/lineage")
    assert [lineage_folder(text) for text in ("", "{}", "no JSON", '["x"]', '{"type": "http"}')] == [None] * 5
    monkeypatch.setenv("WEBTOON_ERASURE_NOT_SEARCHED", " airflow logs,, airflow database ")
    assert stores_not_searched() == ["airflow logs", "airflow database"]
    monkeypatch.delenv("WEBTOON_ERASURE_NOT_SEARCHED")
    assert stores_not_searched() == []
