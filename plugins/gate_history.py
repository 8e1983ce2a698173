"""Page "Gate history" (menu Browse, and a button on the tasks of gates), and the button to Data Docs."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from include.orchestration.gate_history.links import URL_PREFIX, DataDocsLink, GateHistoryLink
from include.orchestration.gate_history.page import make_app
from include.orchestration.pages.lazy_app import LazyApp


class GateHistoryPlugin(AirflowPlugin):
    """Mounts the page in the api-server. It checks who asks by itself: Airflow does not for a plugin."""

    name = "gate_history"
    fastapi_apps: ClassVar[list[Any]] = [
        {"app": LazyApp(make_app), "url_prefix": URL_PREFIX, "name": "Gate history"}
    ]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Gate history",
            "href": f"{URL_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "gate-history",
        }
    ]
    operator_extra_links: ClassVar[list[Any]] = [DataDocsLink(), GateHistoryLink()]
