"""Page "Stream progress" (menu Browse, and a button on the task of stream__sessionize): see the package it comes from."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from include.orchestration.pages.lazy_app import LazyApp
from include.orchestration.progress_page.app import make_app
from include.orchestration.progress_page.link import URL_PREFIX, ProgressLink


class StreamProgressPlugin(AirflowPlugin):
    """Mounts the page in the api-server. It checks who asks by itself: Airflow does not for a plugin."""

    name = "stream_progress"
    fastapi_apps: ClassVar[list[Any]] = [
        {"app": LazyApp(make_app), "url_prefix": URL_PREFIX, "name": "Stream progress"}
    ]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Stream progress",
            "href": f"{URL_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "stream-progress",
        }
    ]
    operator_extra_links: ClassVar[list[Any]] = [ProgressLink()]
