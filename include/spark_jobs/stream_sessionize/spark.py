"""Spark of the stream: its settings, its files, and its end."""

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCRUBBING: Final = {
    "spark.sql.streaming.minBatchesToRetain": "2",
    "spark.sql.streaming.stateStore.minDeltasForSnapshot": "1",
    "spark.sql.streaming.stateStore.maintenanceInterval": "1000",
    "spark.sql.streaming.stateStore.rocksdb.compactOnCommit": "true",
}
"""Spark's settings with which old versions of the state leave the checkpoint within a few micro-batches."""


def spark_session(
    arguments: argparse.Namespace, checkpoint: Path, state_partitions: int, *, scrubs: bool = False
) -> "SparkSession":
    """Spark with RocksDB state, old versions of which go soon if it `scrubs`; master, memory and jars are what spark-submit
    was given."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.local.dir": local_dir(checkpoint),
        # fixed in a checkpoint: the number of state stores
        "spark.sql.shuffle.partitions": state_partitions,
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.minBatchesToRetain": "20",
        # Spark stops the maintenance of its stores under a lock that a maintenance thread may be waiting for: these limits
        # (5 min and 1 min by default) are then how long `stop_spark` takes
        "spark.sql.streaming.stateStore.maintenanceShutdownTimeout": "5s",
        "spark.sql.streaming.stateStore.maintenanceForceShutdownTimeout": "1s",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
        # Spark sets it for mapInArrow only, and Python workers with another environment are others: one pool instead of two
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
        "spark.ui.enabled": "false" if arguments.ui_port is None else "true",
        "spark.ui.port": arguments.ui_port or 4040,
        "spark.ui.showConsoleProgress": "false",
        **(SCRUBBING if scrubs else {}),
    }
    builder = SparkSession.builder.appName(arguments.name)
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    return spark


def local_dir(checkpoint: Path) -> Path:
    """Where Spark has its shuffles and local copies of the state, unless SPARK_LOCAL_DIRS names another place: a folder of
    each checkpoint, so that what a killed driver leaves is found again."""
    name = hashlib.sha256(str(checkpoint.absolute()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"webtoon-stream-{name}"


def remove_local_files(checkpoint: Path) -> None:
    """Remove what an earlier Spark of this checkpoint has left. Only who holds the checkpoint may; nothing is done while
    this process has a Spark."""
    from pyspark import SparkContext

    if SparkContext._active_spark_context is None:
        shutil.rmtree(local_dir(checkpoint), ignore_errors=True)


def stop_spark(spark: "SparkSession") -> None:
    """Stop Spark, its state stores at once: their local copies go, and a next session's maintenance has its own settings."""
    state_store = spark._jvm.org.apache.spark.sql.execution.streaming.state
    spark.stop()
    getattr(getattr(state_store, "StateStore$"), "MODULE$").stop()
