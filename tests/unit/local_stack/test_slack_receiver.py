"""The Slack stand-in: takes what Slack takes, keeps it, shows it escaped."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack import slack_receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    file = tmp_path / "messages.jsonl"
    server = slack_receiver.make_server(0, file)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", file
    server.shutdown()
    server.server_close()
    thread.join()


def _post(url: str, body: bytes, content_type: str) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_messages_are_kept_and_shown(receiver: tuple[str, Path]) -> None:
    url, file = receiver
    assert _post(
        f"{url}/services/T/B/X", json.dumps({"text": "gate <failed> 웹툰"}).encode(), "application/json"
    ) == (200, "ok")
    assert (
        _post(
            f"{url}/services/T/B/X",
            b"payload=%7B%22text%22%3A%22form%22%7D",
            "application/x-www-form-urlencoded",
        )[1]
        == "ok"
    )
    assert _post(f"{url}/x", b"not json \xff", "text/plain")[0] == 200
    with urllib.request.urlopen(f"{url}/messages", timeout=5) as answer:
        messages = json.load(answer)
    assert [message["payload"] for message in messages[:2]] == [
        {"text": "gate <failed> 웹툰"},
        {"text": "form"},
    ]
    assert messages[2]["payload"].startswith("not json")
    assert messages[0]["path"] == "/services/T/B/X"
    with urllib.request.urlopen(url, timeout=5) as answer:
        page = answer.read().decode()
    assert "gate &lt;failed&gt; 웹툰" in page
    assert "<failed>" not in page
    assert len(slack_receiver.read_messages(file)) == 3


def test_blocks_are_readable() -> None:
    payload = {
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*failed*"}}, {"type": "divider"}]
    }
    assert slack_receiver.as_text(payload) == "*failed*"


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"payload": 1}\n{"payl')
    assert slack_receiver.read_messages(file) == [{"payload": 1}]


def test_too_large_a_message_is_refused(receiver: tuple[str, Path]) -> None:
    url, file = receiver
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError, ConnectionError)):
        _post(url, b"x" * (slack_receiver.MAX_BODY_BYTES + 1), "text/plain")
    assert slack_receiver.read_messages(file) == []
