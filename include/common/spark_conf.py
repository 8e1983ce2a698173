"""Spark settings of a driver that only its command line can set, in one place for operators, tests and benchmarks."""

from typing import Final

STREAM_DRIVER_MEMORY: Final = "1g"
"""Heap of the stream's driver, in the form of -Xmx."""


def stream_driver_conf(memory: str = STREAM_DRIVER_MEMORY) -> dict[str, str]:
    """Settings of a stream's driver with a heap of `memory`, whose JVM carries records between Kafka and Python, for two
    cores (docs/adr/0021).

    - the first compiler only: the second one takes 15 s of processor time in the first minute and makes this no faster;
    - the serial collector with half of the heap for what is new: nearly all is garbage a moment later, and what Kafka hands
      over is too large for G1's regions, so that G1 marks the whole heap again and again;
    - all of the heap from the start: it grows to that anyway, by collections of all that lives.
    """
    options = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:NewRatio=1 -XX:MetaspaceSize=256m"
    return {"spark.driver.extraJavaOptions": f"{options} -Xms{memory}"}
