"""Settings of the processes that are not Airflow tasks (Spark jobs, simulator, tools).

Read from environment variables prefixed `WEBTOON_`; Airflow tasks fill these from connections and
variables when they submit a job, so a secret never stands on a command line.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from include.common.names import Topic


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names the variable and the mend."""


def require(name: str) -> str:
    """Return environment variable `name`; raises SettingsError that says how to set it."""
    value = os.environ.get(name, "")
    if not value:
        raise SettingsError(
            f"{name} is not set. In an Airflow task it comes from a connection or variable; "
            f"by hand, `source .stack/env` of a running stack (make up), or set it yourself."
        )
    return value


def docs_root() -> Path | None:
    """Folder of static pages, gx/ and dbt/: WEBTOON_DOCS_DIR, or the stack's own; None where neither is set."""
    folder, state = os.environ.get("WEBTOON_DOCS_DIR"), os.environ.get("WEBTOON_STATE_DIR")
    if folder:
        return Path(folder)
    return Path(state) / "docs" if state else None


def otlp_metrics_endpoint() -> str | None:
    """Where OpenTelemetry's standard variables say that metrics go; None where they say nothing."""
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or (
        f"{base.rstrip('/')}/v1/metrics" if base else None
    )


@dataclass(frozen=True)
class Settings:
    """Where the stores are. `data_dir` holds landing/, checkpoints/, staging/ and warehouse/."""

    bootstrap_servers: str
    postgres_dsn: str
    metastore_uri: str
    data_dir: Path
    events_topic: str = Topic.EVENTS

    @property
    def landing_dir(self) -> Path:
        """Closed readings, one Parquet file a micro-batch; only files the ledger lists count."""
        return self.data_dir / "landing"

    @property
    def checkpoint_dir(self) -> Path:
        """Spark checkpoints, one folder a stream generation."""
        return self.data_dir / "checkpoints"

    @property
    def staging_dir(self) -> Path:
        """Archive slices between the Spark job and their gate."""
        return self.data_dir / "staging"

    @property
    def warehouse_dir(self) -> Path:
        """Root of the Hive database's external tables."""
        return self.data_dir / "warehouse"

    @classmethod
    def from_env(cls) -> "Settings":
        """Build from WEBTOON_KAFKA, WEBTOON_POSTGRES_DSN, WEBTOON_METASTORE_URI, WEBTOON_DATA_DIR."""
        return cls(
            bootstrap_servers=require("WEBTOON_KAFKA"),
            postgres_dsn=require("WEBTOON_POSTGRES_DSN"),
            metastore_uri=os.environ.get("WEBTOON_METASTORE_URI", ""),
            data_dir=Path(require("WEBTOON_DATA_DIR")),
            events_topic=os.environ.get("WEBTOON_EVENTS_TOPIC", Topic.EVENTS),
        )
