"""What others read of a running stack: the sourceable `env` file and `endpoints.json`."""

import json
import shlex

from local_stack import airflow_native
from local_stack.context import Context
from local_stack.credentials import write_private
from local_stack.ports import DEFAULT_PORTS
from local_stack.service import Service


def environment(context: Context) -> dict[str, str]:
    """All that the `env` file exports."""
    return {**context.shared_env(), **airflow_native.as_exports(context)}


def write_env(context: Context) -> None:
    """Write `<state>/env` (it holds a password: mode 0600)."""
    lines = ["# source me: joins the running stack"]
    for name, value in sorted(environment(context).items()):
        lines.append(f"export {name}={shlex.quote(value)}")
    write_private(context.paths.env_file, "\n".join(lines) + "\n")


def write_endpoints(context: Context, started: list[Service]) -> None:
    """Write `<state>/endpoints.json`: addresses, without passwords, and which services were started."""
    addresses = {name: context.ports.address(name) for name in DEFAULT_PORTS}
    document = {
        "addresses": addresses,
        "services": [service.name for service in started],
        "urls": {
            "airflow": f"http://{context.ports.address('airflow')}",
            "slack_messages": f"http://{context.ports.address('slack')}/",
            "data_docs": f"http://{context.ports.address('docs')}/gx/",
            "dbt_docs": f"http://{context.ports.address('docs')}/dbt/",
            "metrics": f"http://{context.ports.address('metrics')}/metrics",
        },
        "metastore_uri": context.metastore_uri,
        "data_dir": str(context.paths.data),
        "env_file": str(context.paths.env_file),
        "airflow_password_file": str(context.paths.secrets / "airflow_admin"),
    }
    context.paths.endpoints_file.write_text(json.dumps(document, indent=2) + "\n")
