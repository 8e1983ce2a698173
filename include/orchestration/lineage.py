"""What tasks tell OpenLineage: what a Python task read and wrote, and whose child a job is.

Through Airflow's own hook lineage, so a task's START and COMPLETE events have it and nothing happens where no lineage
is collected. Names follow OpenLineage's naming, by the providers' converters of these asset URIs.
"""

import json
import logging
from collections.abc import Iterable
from typing import Any

from include.common.lineage.events import NAMESPACE, PARENT, ROOT, TRANSPORT
from include.common.names import Conn, Hive

log = logging.getLogger(__name__)


def postgres_table(table: str) -> str:
    """Asset URI of a table (schema-qualified) of the feature database."""
    connection = _connection(Conn.POSTGRES)
    place = f"{connection.host}:{connection.port or 5432}/{connection.schema}"
    return f"postgres://{place}/{table.replace('.', '/')}"


def hive_table(table: str) -> str:
    """Asset URI of a table of the batch store."""
    connection = _connection(Conn.METASTORE)
    return f"hive://{connection.host}:{connection.port}/{Hive.DATABASE}/{table}"


def tell(reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
    """Note asset URIs that this task has read and written."""
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector: Any = get_hook_lineage_collector()
    for uri in reads:
        collector.add_input_asset(context=tell, uri=uri)
    for uri in writes:
        collector.add_output_asset(context=tell, uri=uri)


def lineage_environment(task_instance: Any) -> dict[str, str]:
    """OpenLineage's own variables for a job that this task starts; empty where no lineage is emitted.

    The transport is that of `[openlineage] transport`; one that is set by connection or file is not handed on.
    """
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins.macros import lineage_parent_id, lineage_root_parent_id
    from airflow.sdk.configuration import conf as settings

    transport = settings.get("openlineage", "transport", fallback="") or "{}"
    try:
        wanted = json.loads(transport)
    except ValueError as error:  # must not stop the job
        log.warning("[openlineage] transport is no JSON (%s): the job tells no lineage", error)
        return {}
    if not wanted or conf.is_disabled():
        return {}
    return {
        TRANSPORT: transport,
        NAMESPACE: conf.namespace(),
        PARENT: lineage_parent_id(task_instance),
        ROOT: lineage_root_parent_id(task_instance),
    }


def assertions(outcomes: Iterable[Any]) -> dict[str, Any]:
    """OpenLineage's facet of a gate's verdicts (`include.gx.results.ExpectationOutcome`) on one dataset."""
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    found = [
        quality.Assertion(
            assertion=it.expectation,
            success=it.success,
            column=it.column_name,
            severity="error" if it.severity == "critical" else "warn",
        )
        for it in outcomes
        if it.success is not None  # one without enough history gives no verdict
    ]
    return {"dataQualityAssertions": quality.DataQualityAssertionsDatasetFacet(assertions=found)}


def _connection(conn_id: str) -> Any:
    from airflow.sdk import BaseHook

    return BaseHook.get_connection(conn_id)
