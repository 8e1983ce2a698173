"""The button on the stream's task that opens the page."""

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

URL_PREFIX = "/stream-progress"


class ProgressLink(BaseOperatorLink):
    """Airflow stores the address when the task defers."""

    name = "Stream progress"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """See BaseOperatorLink."""
        base = str(conf.get("api", "base_url", fallback="http://localhost:8080"))
        return f"{base.rstrip('/')}{URL_PREFIX}/"
