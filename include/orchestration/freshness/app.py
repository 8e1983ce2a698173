"""The page's web application, for users who may see ops__watch_freshness."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.common.names import Dag

if TYPE_CHECKING:
    from fastapi import FastAPI

URL_PREFIX = "/freshness"


def make_app() -> "FastAPI":
    """One page, without cookies or state of its own. Airflow's session says who asks; without one it answers 401."""
    import psycopg
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse, PlainTextResponse

    from include.common.postgres import PostgresUnreachableError, connect
    from include.orchestration.freshness.history import rows_between
    from include.orchestration.freshness.html import render
    from include.orchestration.job_environment import features_dsn

    app = FastAPI(title="Freshness", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag("GET", param_dag_id=Dag.WATCH_FRESHNESS))

    @app.get("/", dependencies=[may_read], response_class=HTMLResponse)
    def page() -> Any:
        now = datetime.now(UTC)
        try:
            with connect(features_dsn(), application_name="freshness_page") as connection:
                tables = rows_between(connection, now - timedelta(hours=24), now)
        except (PostgresUnreachableError, psycopg.Error) as error:
            return PlainTextResponse(f"The feature database cannot be asked: {error}", status_code=503)
        return HTMLResponse(render(tables, now))

    return app
