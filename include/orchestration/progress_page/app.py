"""The page's web application, for users who may see the stream's DAG."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.common.names import Dag

if TYPE_CHECKING:
    from fastapi import FastAPI

DRIVER_NAME = "sessionize"


def make_app() -> "FastAPI":
    """One page, without cookies or state of its own. Airflow's session says who asks; without one it answers 401."""
    import psycopg
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse, PlainTextResponse

    from include.common.postgres import PostgresUnreachableError
    from include.orchestration.job_environment import features_dsn
    from include.orchestration.progress_page.history import read_history
    from include.orchestration.progress_page.html import render

    app = FastAPI(title="Stream progress", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag("GET", param_dag_id=Dag.SESSIONIZE))

    @app.get("/", dependencies=[may_read], response_class=HTMLResponse)
    def page() -> Any:
        try:
            return HTMLResponse(render(read_history(features_dsn(), DRIVER_NAME, datetime.now(UTC))))
        except (PostgresUnreachableError, psycopg.Error) as error:
            return PlainTextResponse(f"The feature database cannot be asked: {error}", status_code=503)

    return app
