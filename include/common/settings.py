"""Settings of the processes that are not Airflow tasks (Spark jobs, simulator, tools).

Read from environment variables prefixed `WEBTOON_`; Airflow tasks fill these from connections and
variables when they submit a job, so a secret never stands on a command line.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from include.common.names import Topic

ERASURE_KEY_VARIABLE = "WEBTOON_ERASURE_KEY"
"""The key that erased readers are told by (include.common.erasure.erasures)."""


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
    """Folder of static pages, gx/, dbt/ and reconciliation/: WEBTOON_DOCS_DIR, or the stack's own; None where neither is set."""
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


def kafka_security() -> dict[str, str]:
    """WEBTOON_KAFKA_SECURITY: SASL and TLS as a JSON object in librdkafka's names; empty where it is not set.

    Raises SettingsError, which does not quote it.
    """
    try:
        given = json.loads(os.environ.get("WEBTOON_KAFKA_SECURITY") or "{}")
    except json.JSONDecodeError as error:
        raise SettingsError(f"WEBTOON_KAFKA_SECURITY is no JSON ({error.msg})") from None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise SettingsError(
            'WEBTOON_KAFKA_SECURITY must be an object of texts, such as {"security.protocol": "SASL_SSL"}'
        )
    return given


@dataclass(frozen=True)
class Settings:
    """Where the stores are. `data_dir` holds landing/, checkpoints/, staging/ and warehouse/."""

    bootstrap_servers: str
    postgres_dsn: str
    metastore_uri: str
    data_dir: Path
    events_topic: str = Topic.EVENTS
    kafka_security: dict[str, str] = field(default_factory=dict, repr=False)
    """SASL and TLS, in librdkafka's names."""

    @property
    def kafka_client(self) -> dict[str, str]:
        """Settings of a librdkafka client."""
        return {"bootstrap.servers": self.bootstrap_servers, **self.kafka_security}

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
        """Build from WEBTOON_KAFKA (and WEBTOON_KAFKA_SECURITY), WEBTOON_POSTGRES_DSN, WEBTOON_METASTORE_URI,
        WEBTOON_DATA_DIR.
        """
        return cls(
            bootstrap_servers=require("WEBTOON_KAFKA"),
            postgres_dsn=require("WEBTOON_POSTGRES_DSN"),
            metastore_uri=os.environ.get("WEBTOON_METASTORE_URI", ""),
            data_dir=Path(require("WEBTOON_DATA_DIR")),
            events_topic=os.environ.get("WEBTOON_EVENTS_TOPIC", Topic.EVENTS),
            kafka_security=kafka_security(),
        )
