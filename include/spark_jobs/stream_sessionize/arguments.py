"""Command line of the stream: `spark-submit include/spark_jobs/stream_sessionize/job.py --help`.

Runs until SIGTERM (finishes the micro-batch at hand, exit status 0), until its generation is retired or dropped
(the same), or with --stop-when-caught-up until everything on the topic at the start is done. Restarting it goes on
where the checkpoint stands. Settings that are fixed for a generation are taken from it; giving others is refused.
Connections come from WEBTOON_KAFKA (WEBTOON_KAFKA_SECURITY), WEBTOON_POSTGRES_DSN, WEBTOON_DATA_DIR and WEBTOON_JARS_DIR.
"""

import argparse
from pathlib import Path

from include.common.names import Topic
from include.common.settings import otlp_metrics_endpoint
from include.spark_jobs.stream_sessionize.generations import SETTINGS, Plan

_FIXED = {
    "buckets_per_partition": "hash buckets in each Kafka partition",
    "state_partitions": "Spark tasks that share the buckets, about one a core",
    "gap_ms": "a longer silence ends a session",
    "max_length_ms": "a session's greatest length",
    "lateness_ms": "how far behind its bucket's clock an event may be",
    "dwell_cap_ms": "the most that one pause adds to dwell time",
}
_DEFAULTS = Plan().settings()


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="stream_sessionize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--name", default="sessionize", help="name of the query, seen in logs (%(default)s)")
    add("--generation", type=_positive, metavar="N",
        help="shadow generation to run, until it is swapped in or dropped (the current generation, made if there is none)")  # fmt: skip
    for name, words in _FIXED.items():
        kind = _not_negative if name == "lateness_ms" else _positive
        add(f"--{name.replace('_', '-')}", type=kind, metavar="N",
            help=f"{words}; fixed for a generation (its own, {_DEFAULTS[name]} for the first one)")  # fmt: skip
    add("--trigger-ms", type=_not_negative, default=500, metavar="MS",
        help="least time from one micro-batch's start to the next; 0: as soon as there is something (%(default)s)")  # fmt: skip
    add("--max-offsets-per-trigger", type=_positive, default=400_000, metavar="N",
        help="most records of a micro-batch (%(default)s)")  # fmt: skip
    add("--control-topic", default=Topic.STREAM_CONTROL, metavar="TOPIC",
        help="topic of wall-clock ticks: the Kafka time of any record on it closes idle sessions (%(default)s)")  # fmt: skip
    add("--heartbeat-file", type=Path, metavar="PATH", help="file to touch while the query is alive")
    add("--ui-port", type=_positive, metavar="PORT", help="serve Spark's UI on this port (off)")
    add("--metrics-endpoint", default=otlp_metrics_endpoint(), metavar="URL",
        help="push metrics to this OTLP/HTTP address (OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, or off)")  # fmt: skip
    add("--stop-when-caught-up", action="store_true", help="stop at the topic's present end")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def fixed_settings(arguments: argparse.Namespace) -> dict[str, int]:
    """What was given of the settings that are fixed in a generation."""
    given = {name: getattr(arguments, name) for name in SETTINGS}
    return {name: value for name, value in given.items() if value is not None}
