"""Each small server is on the port of its name, and its health is a page of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from local_stack.context import Context
from local_stack.service import Service
from local_stack.small_servers import docs, metrics, slack
from tests.unit.local_stack.test_catalogue import context

__all__ = ["context"]


@pytest.mark.parametrize(("make", "page"), [(slack, "/messages"), (docs, "/"), (metrics, "/metrics")])
def test_port_and_health(context: Context, make: Callable[[Context], Service], page: str) -> None:
    service = make(context)
    assert service.name == service.component == make.__name__
    assert str(context.ports[service.name]) in service.argv
    assert service.health_text == f"GET {page}"


def test_the_docs_have_an_index_that_links_all(context: Context) -> None:
    context.paths.docs.mkdir(parents=True, exist_ok=True)
    service = docs(context)
    assert service.prepare is not None
    service.prepare()
    index = Path(context.paths.docs / "index.html").read_text()
    assert 'href="gx/"' in index
    assert 'href="dbt/"' in index
    assert 'href="reports/"' in index
