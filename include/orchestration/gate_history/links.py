"""The buttons on a gate's task: Data Docs of what it checked, and the history of its expectations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import url2pathname

from airflow.sdk import BaseOperatorLink, conf

from include.gx.checkpoints import docs_dir
from include.orchestration.job_environment import docs_url

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

URL_PREFIX = "/gate-history"
PAGE_KEY = "data_docs"
"""XCom key: path below the docs server of the page that shows what the gate found."""


def docs_path(addresses: Sequence[str]) -> str:
    """Path below the docs server of the one page in `addresses` (file URIs), or of the index where there are more."""
    folder = docs_dir()
    if folder is None or len(addresses) != 1:
        return "gx/index.html"
    page = Path(url2pathname(urlsplit(addresses[0]).path))
    return f"gx/{quote(str(page.relative_to(folder)))}"


class DataDocsLink(BaseOperatorLink):
    """Airflow stores the address when the task ends, also when the gate blocks."""

    name = "Data Docs"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """See BaseOperatorLink; empty (no button) where the gate checked nothing."""
        from airflow.sdk.bases.xcom import BaseXCom

        path = BaseXCom.get_value(ti_key=ti_key, key=PAGE_KEY)
        return f"{docs_url()}{path}" if path else ""


class GateHistoryLink(BaseOperatorLink):
    """Page "Gate history", of this gate."""

    name = "Gate history"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """See BaseOperatorLink."""
        base = str(conf.get("api", "base_url", fallback="http://localhost:8080"))
        query = urlencode({"gate": getattr(operator, "gate", "")})
        return f"{base.rstrip('/')}{URL_PREFIX}/?{query}"
