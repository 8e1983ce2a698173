"""Web applications that are made at their first request: every Airflow process imports plugins, one serves pages."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI


class LazyApp:
    """An ASGI application; `make` is called once."""

    def __init__(self, make: "Callable[[], FastAPI]") -> None:
        self._make = make

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        await self._app(scope, receive, send)

    @cached_property
    def _app(self) -> "FastAPI":
        return self._make()
