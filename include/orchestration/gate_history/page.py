"""Page "Gate history": its web application, for users who may see the DAG of the model's gates."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from include.common.names import Dag
from include.common.postgres import connect

if TYPE_CHECKING:
    from fastapi import FastAPI

DAYS = 7
_EXPECTATIONS = (Path(__file__).parent / "expectations.sql").read_text()


@dataclass(frozen=True)
class GateHistory:
    """`expectations`: rows of expectations.sql; `gate` None for all gates."""

    at: datetime
    gate: str | None
    expectations: list[dict[str, Any]]


def read_gate_history(dsn: str, gate: str | None, now: datetime) -> GateHistory:
    """The last DAYS of one gate, or of all. Raises PostgresUnreachableError, psycopg.Error."""
    with connect(dsn, application_name="gate_history") as connection:
        cursor = psycopg.RawCursor(connection, row_factory=dict_row)
        return GateHistory(now, gate, cursor.execute(_EXPECTATIONS, (gate, DAYS)).fetchall())


def make_app() -> "FastAPI":
    """One page, without cookies or state of its own. Airflow's session says who asks; without one it answers 401."""
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse, PlainTextResponse

    from include.common.postgres import PostgresUnreachableError
    from include.orchestration.gate_history.html import render
    from include.orchestration.job_environment import docs_url, features_dsn

    app = FastAPI(title="Gate history", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag("GET", param_dag_id=Dag.MODEL))

    @app.get("/", dependencies=[may_read], response_class=HTMLResponse)
    def page(gate: str | None = None) -> Any:
        try:
            history = read_gate_history(features_dsn(), gate or None, datetime.now(UTC))
        except (PostgresUnreachableError, psycopg.Error) as error:
            return PlainTextResponse(f"The feature database cannot be asked: {error}", status_code=503)
        return HTMLResponse(render(history, docs_url()))

    return app
