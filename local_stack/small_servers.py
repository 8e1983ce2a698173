"""The stack's small HTTP servers: stand-ins for Slack and Prometheus, and static pages (data docs, dbt docs)."""

from local_stack import health
from local_stack.context import Context
from local_stack.paths import PROJECT_ROOT, python
from local_stack.ports import HOST
from local_stack.service import Service

_DOCS_INDEX = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Docs</title></head>
<body><h1>Docs of this stack</h1><ul><li><a href="gx/">Data docs (Great Expectations)</a></li>
<li><a href="dbt/">dbt docs</a></li></ul></body></html>
"""


def slack(context: Context) -> Service:
    """What stands in for Slack; messages in `<state>/slack_messages.jsonl`."""
    port = context.ports["slack"]
    return Service(
        name="slack",
        component="slack",
        argv=(
            python(),
            "-m",
            "local_stack.slack_receiver",
            str(port),
            str(context.paths.root / "slack_messages.jsonl"),
        ),
        env=context.process_env(),
        health=health.http(f"http://{HOST}:{port}/messages"),
        health_text="GET /messages",
        ready_within_s=20,
        memory_limit_mib=64,
        stop_order=86,
        cwd=PROJECT_ROOT,
    )


def docs(context: Context) -> Service:
    """Static pages of `<state>/docs`: gx/ and dbt/."""
    port = context.ports["docs"]

    def write_index() -> None:
        (context.paths.docs / "index.html").write_text(_DOCS_INDEX)

    return Service(
        name="docs",
        component="docs",
        argv=(
            python(),
            "-m",
            "http.server",
            "--bind",
            HOST,
            "--directory",
            str(context.paths.docs),
            str(port),
        ),
        env=context.process_env(),
        health=health.http(f"http://{HOST}:{port}/"),
        health_text="GET /",
        ready_within_s=20,
        memory_limit_mib=64,
        stop_order=85,
        prepare=write_index,
    )


def metrics(context: Context) -> Service:
    """What stands in for Prometheus: the metrics that Airflow and the stream push, as a page."""
    port = context.ports["metrics"]
    return Service(
        name="metrics",
        component="metrics",
        argv=(python(), "-m", "local_stack.metrics_receiver", str(port)),
        env=context.process_env(),
        health=health.http(f"http://{HOST}:{port}/metrics"),
        health_text="GET /metrics",
        ready_within_s=20,
        memory_limit_mib=128,
        stop_order=84,
        cwd=PROJECT_ROOT,
    )
