"""What every part of the stack needs to know of the others: paths, ports, addresses, environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from include.common.names import Conn
from include.common.settings import ERASURE_KEY_VARIABLE
from local_stack.credentials import password
from local_stack.launch import MARKER
from local_stack.paths import PROJECT_ROOT, SPARK_JARS_DIR, StatePaths, python, scripts_dir
from local_stack.ports import HOST, Ports

FEATURES_DATABASE = "features"
AIRFLOW_READER = "airflow_reader"
"""Role that reads Airflow's database, and makes statistics of it anew: for the search of privacy__erase_user."""
# taken from the caller's shell; a change of these is no reason to restart a service
PASSED_ON = ("LANG", "LC_ALL", "TZ", "JAVA_HOME", "SSL_CERT_FILE", "USER", "LOGNAME")


@dataclass(frozen=True)
class Context:
    """One stack: its folders, its ports, and whether data must survive a power cut (`durable`)."""

    paths: StatePaths
    ports: Ports
    durable: bool = True

    def dsn(self, role: str, database: str) -> str:
        """libpq URI of `role` on `database`, with its generated password."""
        secret = quote(password(self.paths.secrets, f"postgres_{role}"), safe="")
        return f"postgresql://{role}:{secret}@{self.ports.address('postgres')}/{database}"

    @property
    def admin_dsn(self) -> str:
        """The server's superuser."""
        return self.dsn("postgres", "postgres")

    @property
    def features_dsn(self) -> str:
        """The feature store's owner on its database."""
        return self.dsn("webtoon", FEATURES_DATABASE)

    @property
    def metastore_uri(self) -> str:
        """Thrift URI of the Hive metastore."""
        return f"thrift://{self.ports.address('metastore')}"

    def webtoon_env(self) -> dict[str, str]:
        """What the project's own processes read (include.common.settings)."""
        return {
            "WEBTOON_KAFKA": self.ports.address("kafka"),
            "WEBTOON_POSTGRES_DSN": self.features_dsn,
            "WEBTOON_METASTORE_URI": self.metastore_uri,
            "WEBTOON_DATA_DIR": str(self.paths.data),
            "WEBTOON_JARS_DIR": str(SPARK_JARS_DIR),
            "WEBTOON_STATE_DIR": str(self.paths.root),
            ERASURE_KEY_VARIABLE: password(self.paths.secrets, Conn.ERASURE_KEY),
        }

    def shared_env(self) -> dict[str, str]:
        """What a shell that joins the stack needs as well (the `env` file)."""
        search_path = os.pathsep.join((str(scripts_dir()), os.environ.get("PATH", os.defpath)))
        return {
            **self.webtoon_env(),
            "PYTHONPATH": str(PROJECT_ROOT),
            "PYSPARK_PYTHON": python(),
            "PYSPARK_DRIVER_PYTHON": python(),
            "PATH": search_path,
            "SPARK_LOCAL_IP": HOST,
            "SPARK_LOCAL_DIRS": str(self.paths.tmp / "spark"),
            "SPARK_CONF_DIR": str(self.paths.conf / "spark"),
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "ASTRONOMER_COSMOS__TELEMETRY": "False",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
            "SCARF_ANALYTICS": "false",
        }

    def jvm_flags(self, heap_mib: int) -> tuple[str, ...]:
        """Flags of every JVM we start ourselves: heap limit, one-core collector, no files outside."""
        return (
            f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", "-XX:MaxMetaspaceSize=192m", "-XX:-UsePerfData",
            "-XX:+ExitOnOutOfMemoryError", f"-Djava.io.tmpdir={self.paths.tmp}",
        )  # fmt: skip

    def process_env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a supervised process; nothing else leaks in from our shell."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {
            **passed,
            **self.shared_env(),
            "HOME": str(self.paths.home),
            "TMPDIR": str(self.paths.tmp),
            "PYTHONUNBUFFERED": "1",
            MARKER: str(self.paths.root),
            **(extra or {}),
        }
