"""The one list of the stack's processes, in the order they start."""

from local_stack import airflow_native, hive, kafka_broker, postgres_server, small_servers
from local_stack.context import Context
from local_stack.service import Service, wanted

COMPONENTS = ("postgres", "kafka", "metastore", "thrift", "slack", "docs", "metrics", "airflow")


def services(context: Context, components: set[str] | None = None) -> list[Service]:
    """Services of `components` (all where None) and of what these need."""
    everything = [
        postgres_server.service(context),
        kafka_broker.service(context),
        hive.metastore(context),
        hive.thrift_server(context),
        small_servers.slack(context),
        small_servers.docs(context),
        small_servers.metrics(context),
        *airflow_native.services(context),
    ]
    return wanted(everything, components)
