"""Spark settings of a driver that only its command line can set, in one place for operators, tests and benchmarks."""

from typing import Final

STREAM_DRIVER_CONF: Final = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:NewRatio=1 -XX:MetaspaceSize=256m"
}
"""The JVM carries records between Kafka and Python, for two cores (docs/adr/0021):

- the first compiler only: the second one takes 15 s of processor time in the first minute and makes this no faster;
- the serial collector with half of the heap for what is new: nearly all is garbage a moment later, and what Kafka hands
  over is too large for G1's regions, so that G1 marks the whole heap again and again.
"""
STREAM_DRIVER_MEMORY: Final = "1g"
