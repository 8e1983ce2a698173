"""The stream: what `spark-submit include/spark_jobs/stream_sessionize/job.py` does, from start to end.

`--help`, and how it behaves: `arguments`.
"""

import argparse
import sys
import traceback
from typing import TYPE_CHECKING

import psycopg

from include.common.erasure.erasures import erasure_key
from include.common.kafka.offsets import KafkaUnreachableError
from include.common.postgres import PostgresUnreachableError, connect
from include.common.settings import Settings, SettingsError
from include.spark_jobs.session import JobError, kafka_source
from include.spark_jobs.stream_sessionize.arguments import fixed_settings, parse_arguments
from include.spark_jobs.stream_sessionize.forgetting import Forgetting
from include.spark_jobs.stream_sessionize.generations import (
    Generation,
    GenerationError,
    SupersededError,
    check_checkpoint,
    current_or_first,
    numbered,
)
from include.spark_jobs.stream_sessionize.handover import CheckpointLease, Standing, sole_driver
from include.spark_jobs.stream_sessionize.lineage import lineage_of
from include.spark_jobs.stream_sessionize.preflight import starting_offsets
from include.spark_jobs.stream_sessionize.progress import ProgressRecorder
from include.spark_jobs.stream_sessionize.pruning import Pruning
from include.spark_jobs.stream_sessionize.query import MicroBatchPlan, start_query
from include.spark_jobs.stream_sessionize.reader import Offsets, Topics
from include.spark_jobs.stream_sessionize.rewind import rewind
from include.spark_jobs.stream_sessionize.sink import MicroBatchSink
from include.spark_jobs.stream_sessionize.spark import remove_local_files, spark_session, stop_spark
from include.spark_jobs.stream_sessionize.state_version import check_state_version
from include.spark_jobs.stream_sessionize.supervision import (
    STOP_LIMIT_S,
    LostThreads,
    StopRequest,
    raise_failure,
    stop_after_batch,
    stopped_by_error,
    supervise,
    told_in_one_line,
)
from include.spark_jobs.stream_sessionize.warm_up import start_warm_up
from include.spark_jobs.stream_sessionize.worker_keeper import WorkerKeeper
from include.spark_jobs.stream_sessionize.writer import MicroBatchWriter

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from include.spark_jobs.stream_sessionize.metrics import StreamMetrics


def run(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Check what the job needs, cheapest first, then stream. Raises JobError and the like."""
    settings = Settings.from_env()
    source = kafka_source(settings)
    topics = Topics(settings.events_topic, arguments.control_topic)
    key = erasure_key(required=False)
    starting = starting_offsets(settings.kafka_client, topics)
    with (
        told_in_one_line(),
        connect(settings.postgres_dsn, application_name="stream_sessionize", autocommit=True) as connection,
    ):
        generation = find_generation(connection, settings, starting[topics.events], arguments)

        def start_spark(*, scrubs: bool = False) -> "SparkSession":
            return spark_session(
                arguments, generation.checkpoint, generation.plan.state_partitions, scrubs=scrubs
            )

        if arguments.heartbeat_file is not None:
            arguments.heartbeat_file.parent.mkdir(parents=True, exist_ok=True)
        told = lineage_of(settings, topics, arguments.name)
        with told, sole_driver(generation, prepare=start_spark) as lease:
            if rewind(generation.checkpoint, check_checkpoint(connection, generation)):
                print("stream_sessionize: repeats a micro-batch that was not committed", flush=True)
            check_state_version(generation.checkpoint)
            again = True
            while again and not stop.is_set:
                remove_local_files(generation.checkpoint)
                forgetting = Forgetting.begin(connection, key, generation, settings.landing_dir)
                spark = start_spark(scrubs=bool(forgetting.erasures))
                try:
                    stream(
                        spark, settings, source, topics, starting, generation, lease, connection, forgetting,
                        arguments, stop,
                    )  # fmt: skip
                finally:
                    stop_spark(spark)
                again = forgetting.wants_restart


def find_generation(
    connection: psycopg.Connection, settings: Settings, low_watermarks: Offsets, arguments: argparse.Namespace
) -> Generation:
    """The generation to run. Raises GenerationError, SupersededError."""
    fixed = fixed_settings(arguments)
    if arguments.generation is None:
        return current_or_first(connection, settings.checkpoint_dir, low_watermarks, fixed)
    return numbered(connection, arguments.generation, settings.checkpoint_dir, low_watermarks, fixed)


def stream(
    spark: "SparkSession",
    settings: Settings,
    source: dict[str, str],
    topics: Topics,
    starting: dict[str, Offsets],
    generation: Generation,
    lease: CheckpointLease,
    connection: psycopg.Connection,
    forgetting: Forgetting,
    arguments: argparse.Namespace,
    stop: StopRequest,
) -> None:
    """Start the query and stay with it to its end; raises JobError if it fails."""
    stop.listen_in_jvm(spark)
    lost = LostThreads()
    lost.listen_in_jvm(spark)
    writer = MicroBatchWriter(settings.postgres_dsn, settings.landing_dir, topics.events, generation)
    metrics = open_metrics(arguments, generation.number)
    # what is to be forgotten leaves the checkpoint soon, and with it what a micro-batch would be repeated from
    sink = MicroBatchSink(writer, topics.events, generation, behind=not forgetting.erasures)
    recorder = ProgressRecorder(
        connection, generation.number, topics.events, sink.phases, sink.clocks.after,
        observe=None if metrics is None else metrics.observe,
    )  # fmt: skip
    writer.on_commit = None if metrics is None else metrics.committed
    plan = MicroBatchPlan(
        generation, forgetting.erased, forgets=bool(forgetting.erasures), tells_times=metrics is not None
    )
    warm_up, keeper = start_warm_up(spark, plan), WorkerKeeper(spark)
    try:
        forgetting.remove_rows()
        query = start_query(spark, source, topics, starting, plan, sink, arguments)
        pruning = Pruning(connection, generation)

        def beside_the_query() -> str | None:
            pruning.advance()
            keeper.advance(sink.collected_at)
            return forgetting.why_restart()

        standing = Standing(connection, generation, lease, why_restart=beside_the_query)
        with stopped_by_error(query):
            supervise(query, sink, recorder, stop, arguments.heartbeat_file, standing.why_end, lost)
            if query.isActive:
                print("stream_sessionize: finishing the micro-batch at hand", flush=True)
                stop_after_batch(query, generation.checkpoint)
            sink.wait()
            recorder.record(query)
        raise_failure(query, sink.failure)
    finally:
        warm_up.join(STOP_LIMIT_S)
        keeper.join(STOP_LIMIT_S)
        sink.close()
        if metrics is not None:
            metrics.close()


def open_metrics(arguments: argparse.Namespace, generation: int) -> "StreamMetrics | None":
    """None where no receiver is named (OpenTelemetry is not imported then), or its settings make no sense."""
    if not arguments.metrics_endpoint:
        return None
    from include.spark_jobs.stream_sessionize.metrics import start_metrics

    try:
        return start_metrics(arguments.metrics_endpoint, arguments.name, generation)
    except (ValueError, OSError) as error:
        print(f"stream_sessionize: metrics are off: {error}", flush=True)
        return None


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 after a graceful stop, 1 with one line on stderr otherwise."""
    arguments = parse_arguments(argv)
    stop = StopRequest()
    stop.listen()
    try:
        run(arguments, stop)
    except SupersededError as ended:
        print(f"stream_sessionize: {ended}", flush=True)
    except (
        JobError,
        GenerationError,
        SettingsError,
        KafkaUnreachableError,
        PostgresUnreachableError,
    ) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"stream_sessionize: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
