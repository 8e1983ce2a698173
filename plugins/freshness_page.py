"""Page "Freshness" (menu Browse): every published table against its SLO, see include.orchestration.freshness."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from include.orchestration.freshness.app import URL_PREFIX, make_app
from include.orchestration.pages.lazy_app import LazyApp


class FreshnessPlugin(AirflowPlugin):
    """Mounts the page in the api-server. It checks who asks by itself: Airflow does not for a plugin."""

    name = "freshness"
    fastapi_apps: ClassVar[list[Any]] = [
        {"app": LazyApp(make_app), "url_prefix": URL_PREFIX, "name": "Freshness"}
    ]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Freshness",
            "href": f"{URL_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "freshness",
        }
    ]
