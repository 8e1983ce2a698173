"""Spark settings of a driver that only its command line can set, in one place for operators, tests and benchmarks."""

from typing import Final

STREAM_DRIVER_CONF: Final = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
"""The first compiler only: the second one takes 15 s of processor time in the first minute, and the JVM, which carries
records between Kafka and Python, gets no faster by it (docs/adr/0021)."""
STREAM_DRIVER_MEMORY: Final = "1g"
