"""Spark driver that reads rows and does nothing with them: what a batch job is compared with.

A topic from its first to its last offset (`--kafka`), Parquet files (`--parquet`), or nothing (Spark's own start).
Every column is read and goes to Spark's noop sink. Prints one JSON line: rows and seconds of the read alone.
"""

import argparse
import json
import sys
import time

from include.common.settings import Settings
from include.spark_jobs.session import batch_session


def main() -> int:
    """Read once."""
    from pyspark.sql import Observation, functions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", metavar="TOPIC")
    parser.add_argument("--parquet", metavar="FOLDER")
    arguments = parser.parse_args()
    spark = batch_session("plain_scan")
    observed, started = Observation("scan"), time.monotonic()
    if arguments.kafka:
        source = spark.read.format("kafka").option(
            "kafka.bootstrap.servers", Settings.from_env().bootstrap_servers
        )
        frame = source.option("subscribe", arguments.kafka).load()
    elif arguments.parquet:
        frame = spark.read.option("recursiveFileLookup", "true").parquet(arguments.parquet)
    else:
        frame = spark.range(1)
    counted = frame.observe(observed, functions.count(functions.lit(1)).alias("rows"))
    counted.write.format("noop").mode("overwrite").save()
    seconds = time.monotonic() - started
    print(json.dumps({"rows": observed.get["rows"], "seconds": seconds}))
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
