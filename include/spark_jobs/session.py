"""The session of every short (batch) Spark job, and the checks that come before Spark is started."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.kafka.security import KafkaSecurityError, java_settings
from include.common.settings import Settings, require

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class JobError(RuntimeError):
    """The job cannot start or go on; one line that says what was wrong and the mend."""


def batch_session(name: str, *, shuffle_partitions: int = 2) -> "SparkSession":
    """Spark for a job of seconds: UTC, Parquet instants in microseconds, few shuffle partitions.

    Master, memory and jars are what spark-submit was given.
    """
    from pyspark.sql import SparkSession

    builder = (
        SparkSession.builder.appName(name)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(shuffle_partitions))
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20000")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
    )
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    return spark


@contextmanager
def stopped_after(spark: "SparkSession") -> Iterator["SparkSession"]:
    """Stop Spark at the end; a failure inside Spark becomes a JobError of one line (its trace is in the log)."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield spark
    except (PySparkException, Py4JError) as error:
        traceback.print_exc()
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise JobError(f"Spark failed: {first.strip()}") from error
    finally:
        spark.stop()


def kafka_source(settings: Settings) -> dict[str, str]:
    """Options of Spark's Kafka source that say how to reach the broker, SASL and TLS among them.

    Raises JobError where the source's jar is missing or a setting has no counterpart, before Spark is started.
    """
    folder = Path(require("WEBTOON_JARS_DIR"))
    if not any(folder.glob("spark-sql-kafka*.jar")):
        raise JobError(f"no spark-sql-kafka jar in {folder}: run `make jars`")
    try:
        security = java_settings(settings.kafka_security)
    except KafkaSecurityError as error:
        raise JobError(str(error)) from error
    reached = {"bootstrap.servers": settings.bootstrap_servers, **security}
    return {f"kafka.{name}": value for name, value in reached.items()}
