"""Airflow as four processes: api-server, scheduler (LocalExecutor), dag-processor, triggerer.

Not `airflow standalone`: a SIGTERM to it orphans its children. Connections, variables and pools come from
the one list in include.orchestration.connections, the same that the Docker way of running is tested against.
"""

import base64
import json
import os
from collections.abc import Mapping
from importlib.metadata import version

import psycopg

from include.common.erasure.erasures import SENSITIVE_NAMES
from include.common.lineage.events import DEFAULT_NAMESPACE, EMISSION_POLICY, transport_setting
from local_stack import airflow_api, health
from local_stack.commands import run
from local_stack.context import Context
from local_stack.credentials import password, write_private
from local_stack.paths import PROJECT_ROOT, scripts_dir
from local_stack.ports import HOST
from local_stack.registry import connection_env, limits, pools, variable_env
from local_stack.service import HealthCheck, Service

ADMIN = "admin"
_OVERRIDE_PREFIX = "WEBTOON_OVERRIDE_"
_METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"


def base_url(context: Context) -> str:
    """Address of the user interface and the REST API."""
    return f"http://{context.ports.address('airflow')}"


def _fernet_key(context: Context) -> str:
    path = context.paths.secrets / "airflow_fernet_key"
    if not path.exists():
        write_private(path, base64.urlsafe_b64encode(os.urandom(32)).decode() + "\n")
    return path.read_text().strip()


def configuration(context: Context) -> dict[str, str]:
    """Airflow's settings as AIRFLOW__SECTION__KEY; each is there for a reason stated beside it."""
    secrets = context.paths.secrets
    chosen = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "8",  # two cores, 150-290 MB a task
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "4",
        "CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": _fernet_key(context),
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(secrets / "airflow_users.json"),
        "CORE__EXECUTION_API_SERVER_URL": f"{base_url(context)}/execution/",
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # getfqdn asks DNS, for seconds where there is none
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        "CORE__SENSITIVE_VAR_CONN_NAMES": SENSITIVE_NAMES,  # the audit log writes *** for them, out of any form
        "API__HOST": HOST,
        "API__PORT": str(context.ports["airflow"]),
        "API__BASE_URL": base_url(context),
        "API__WORKERS": "1",
        "API__SECRET_KEY": password(secrets, "airflow_secret_key"),
        "API_AUTH__JWT_SECRET": password(secrets, "airflow_jwt_secret"),
        "DATABASE__SQL_ALCHEMY_CONN": context.dsn("airflow", "airflow").replace(
            "postgresql://", "postgresql+psycopg2://"
        ),
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "4",
        "DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "6",
        "LOGGING__BASE_LOG_FOLDER": str(context.paths.airflow_home / "logs"),
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        # dead tasks are noticed within about 70 s (default: 5 min); shorter kills live ones on busy cores
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",
        # new and changed DAG files are seen within seconds; one parser process leaves a core to the work
        "DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "METRICS__OTEL_ON": "True",
        "METRICS__LEGACY_NAMES_ON": "False",  # these have ids in their names: no dashboard can name them
        "OPENLINEAGE__TRANSPORT": transport_setting(context.paths.lineage),
        "OPENLINEAGE__NAMESPACE": DEFAULT_NAMESPACE,
        "OPENLINEAGE__EMISSION_POLICY": EMISSION_POLICY,
    }
    overrides = {
        name.removeprefix(_OVERRIDE_PREFIX): value
        for name, value in os.environ.items()
        if name.startswith(f"{_OVERRIDE_PREFIX}AIRFLOW__")
    }
    return {f"AIRFLOW__{name}": value for name, value in chosen.items()} | overrides


def metrics_env(context: Context) -> dict[str, str]:
    """Where Airflow, and the stream that it starts, push their metrics; docs/metrics.md says why these values."""
    endpoint = f"http://{context.ports.address('metrics')}/v1/metrics"
    return {
        _METRICS_ENDPOINT: os.environ.get(_METRICS_ENDPOINT) or endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "15000",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "2",  # a task that ends waits no longer for a receiver
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",  # of processes that live for one task
        "OTEL_SERVICE_NAME": "airflow",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=airflow",  # else a random one a process
    }


def environment(context: Context) -> dict[str, str]:
    """All AIRFLOW_* of the stack (settings, connections, variables) and OTEL_*."""
    return {
        "AIRFLOW_HOME": str(context.paths.airflow_home),
        **metrics_env(context),
        **configuration(context),
        **connection_env(context),
        **variable_env(context),
    }


def process_env(context: Context) -> dict[str, str]:
    """The environment of an Airflow process, and so of every task."""
    return context.process_env(environment(context))


def _migrate(context: Context) -> None:
    """Users file, and Airflow's own tables where they are not of this version."""
    write_private(
        context.paths.secrets / "airflow_users.json",
        json.dumps({ADMIN: password(context.paths.secrets, "airflow_admin")}),
    )
    stamp = context.paths.root / f"airflow-{version('apache-airflow')}-migrated"
    if stamp.exists():
        return
    run(
        (str(scripts_dir() / "airflow"), "db", "migrate"),
        what="making Airflow's tables", log=context.paths.logs / "airflow-db-migrate.log",
        env=process_env(context), cwd=PROJECT_ROOT, timeout_s=240,
    )  # fmt: skip
    with psycopg.connect(context.dsn("airflow", "airflow")) as connection:
        connection.execute("SELECT count(*) FROM dag_run")  # fails loudly where the tables are not there
    stamp.write_text("")


def _import_pools_and_variables(context: Context) -> None:
    api = airflow_api.AirflowApi(base_url(context), ADMIN, password(context.paths.secrets, "airflow_admin"))
    for name, slots, description in pools():
        api.put_pool(name, slots, description)
    for key, value in limits().items():
        api.add_variable(key, value)


def services(context: Context) -> list[Service]:
    """The four processes; about 1.1 GiB together, 25 s to healthy. The scheduler stops first, the API last."""
    report = f"{base_url(context)}/api/v2/monitor/health"

    def part(
        name: str,
        arguments: tuple[str, ...],
        check: HealthCheck,
        memory_mib: int,
        stop_order: int,
        **other: int,
    ) -> Service:
        return Service(
            name=name,
            component="airflow",
            argv=(str(scripts_dir() / "airflow"), *arguments),
            env=process_env(context),
            health=check,
            health_text="its line in Airflow's health report",
            ready_within_s=180,
            memory_limit_mib=memory_mib,
            stop_order=stop_order,
            stop_within_s=other.get("stop_within_s", 15),
            needs=("postgres", "metrics"),
            prepare=lambda: _migrate(context),
            after_ready=(lambda: _import_pools_and_variables(context))
            if name == "airflow-api-server"
            else (lambda: None),
        )

    def component(name: str) -> HealthCheck:
        return health.http(report, health.airflow_component(name))

    return [
        part("airflow-api-server", ("api-server",), component("metadatabase"), 640, 50),
        # its tree holds the running tasks, Spark drivers of batch jobs included
        part("airflow-scheduler", ("scheduler", "--skip-serve-logs"), component("scheduler"), 4608, 10),
        part("airflow-dag-processor", ("dag-processor",), component("dag_processor"), 640, 12),
        part("airflow-triggerer", ("triggerer", "--skip-serve-logs"), component("triggerer"), 512, 14),
    ]


def admin_password(context: Context) -> str:
    """Password of user `admin`."""
    return password(context.paths.secrets, "airflow_admin")


def as_exports(context: Context) -> Mapping[str, str]:
    """What the `env` file adds so that the `airflow` command works in a shell."""
    return environment(context)
