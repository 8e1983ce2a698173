"""A loopback HTTP server that stands in for Slack's incoming webhooks.

POST anything: answers 200 `ok` and appends the message to a JSON Lines file. `GET /` shows the messages as
a page, `GET /messages` as JSON, newest last. `python -m local_stack.slack_receiver PORT FILE [ADDRESS]`;
another address than loopback is for a container, which publishes the port on loopback itself.
"""

import html
import json
import sys
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from local_stack.ports import HOST

MAX_BODY_BYTES = 1 << 20
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Slack stand-in</title>
<meta http-equiv="refresh" content="5"><style>body{{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto}}
article{{border-left:4px solid #c33;padding:.2rem 1rem;margin:1rem 0}}pre{{white-space:pre-wrap}}</style></head>
<body><h1>Messages to Slack ({count})</h1>{articles}</body></html>"""


def parse(content_type: str, body: bytes) -> Any:
    """What was posted: JSON, a form's `payload`, or the text itself."""
    text = body.decode("utf-8", errors="replace")
    if "form-urlencoded" in content_type:
        text = parse_qs(text).get("payload", [text])[0]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def read_messages(file: Path) -> list[dict[str, Any]]:
    """All messages kept; a half-written last line (a crash) is left out."""
    if not file.exists():
        return []
    messages = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            messages.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return messages


def as_text(payload: Any) -> str:
    """The readable part of a message: its text and the texts of its blocks."""
    if not isinstance(payload, dict):
        return str(payload)
    parts = [str(payload.get("text") or "")]
    for block in payload.get("blocks") or []:
        text = block.get("text") if isinstance(block, dict) else None
        parts.append(str(text.get("text") if isinstance(text, dict) else text or ""))
    return "\n".join(part for part in parts if part) or json.dumps(payload, indent=1)


def page(messages: list[dict[str, Any]]) -> str:
    """The messages as a page, newest first; their text is escaped."""
    articles = "".join(
        f"<article><small>{html.escape(message['received_at'])}</small>"
        f"<pre>{html.escape(as_text(message['payload']))}</pre></article>"
        for message in reversed(messages)
    )
    return _PAGE.format(count=len(messages), articles=articles or "<p>None yet.</p>")


def make_server(port: int, file: Path, address: str = HOST) -> ThreadingHTTPServer:
    """A server on `address` that keeps messages in `file`."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: HTTPStatus, content_type: str, body: str) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{content_type}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            if self.path == "/messages":
                self._answer(HTTPStatus.OK, "application/json", json.dumps(read_messages(file)))
            elif self.path == "/":
                self._answer(HTTPStatus.OK, "text/html", page(read_messages(file)))
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "GET / or /messages")

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY_BYTES:
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text/plain", "too_large")
                return
            payload = parse(self.headers.get("Content-Type", ""), self.rfile.read(length))
            message = {"received_at": datetime.now(UTC).isoformat(), "path": self.path, "payload": payload}
            with lock, file.open("a", encoding="utf-8") as messages:
                messages.write(json.dumps(message, ensure_ascii=False) + "\n")
            self._answer(HTTPStatus.OK, "text/plain", "ok")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            sys.stderr.write(f"{self.log_date_time_string()} {format % arguments}\n")

    return ThreadingHTTPServer((address, port), Handler)


if __name__ == "__main__":
    make_server(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]).serve_forever()
