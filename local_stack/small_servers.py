"""The stack's small HTTP servers: stand-ins for Slack and Prometheus, and static pages (data docs, dbt docs)."""

from dataclasses import replace

from local_stack import health
from local_stack.context import Context
from local_stack.paths import PROJECT_ROOT, python
from local_stack.ports import HOST
from local_stack.service import Service

_DOCS_INDEX = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Docs</title></head>
<body><h1>Docs of this stack</h1><ul><li><a href="gx/">Data docs (Great Expectations)</a></li>
<li><a href="dbt/">dbt docs</a></li><li><a href="reports/">Daily reports</a></li>
<li><a href="reconciliation/">Stream = batch (features__reconcile)</a></li></ul></body></html>
"""


def slack(context: Context) -> Service:
    """What stands in for Slack; messages in `<state>/slack_messages.jsonl`."""
    messages = str(context.paths.root / "slack_messages.jsonl")
    argv = ("-m", "local_stack.slack_receiver", str(context.ports["slack"]), messages)
    return _server(context, "slack", argv, page="/messages", stop_order=86)


def docs(context: Context) -> Service:
    """Static pages of `<state>/docs`: gx/, dbt/ and reports/."""

    def write_index() -> None:
        (context.paths.docs / "index.html").write_text(_DOCS_INDEX)

    argv = (
        "-m",
        "http.server",
        "--bind",
        HOST,
        "--directory",
        str(context.paths.docs),
        str(context.ports["docs"]),
    )
    return replace(_server(context, "docs", argv, page="/", stop_order=85), prepare=write_index)


def metrics(context: Context) -> Service:
    """What stands in for Prometheus: the metrics that Airflow and the stream push, as a page."""
    argv = ("-m", "local_stack.metrics_receiver", str(context.ports["metrics"]))
    return _server(context, "metrics", argv, page="/metrics", stop_order=84, memory_limit_mib=128)


def _server(
    context: Context,
    name: str,
    argv: tuple[str, ...],
    *,
    page: str,
    stop_order: int,
    memory_limit_mib: int = 64,
) -> Service:
    """A Python process on the port of its name, healthy when it answers `page`."""
    return Service(
        name=name,
        component=name,
        argv=(python(), *argv),
        env=context.process_env(),
        health=health.http(f"http://{context.ports.address(name)}{page}"),
        health_text=f"GET {page}",
        ready_within_s=20,
        memory_limit_mib=memory_limit_mib,
        stop_order=stop_order,
        cwd=PROJECT_ROOT,
    )
