"""Many small files of a partition into few large ones: ours (DuckDB and Arrow), Spark, and a plain copy as the limit.

    python -m benchmarks.compaction [--rows 1500000] [--files 144] [--memory 384MB]

The same files for each, one process each, one after another. Peak memory is that of the whole process tree. The last
line is a JSON object.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.stack import machine, print_json
from include.common.archive.compaction import CompactionLimits, merge_files
from include.common.hive.files import visible_files
from include.common.hive.tables import QUARANTINED_EVENTS
from include.contract.event import Device, EventType, Platform, ReadingEvent, encode

KAFKA_PARTITIONS: Final = 4
ENGINES: Final = ("copy", "ours", "spark")
_START: Final = datetime(2026, 11, 23, tzinfo=UTC)


def write_inputs(folder: Path, rows: int, files: int) -> None:
    """`files` slices of a day, `rows` events in all, as the archive's job writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = QUARANTINED_EVENTS.arrow_schema()
    each = rows // files // KAFKA_PARTITIONS
    picked = random.Random(7)
    for number in range(files):
        slice_id = f"{_START + timedelta(minutes=10 * number):%Y%m%dT%H%M%SZ}-{number:012x}"
        records = [
            _record(
                partition, number * each + row, _START + timedelta(seconds=number * 600), slice_id, picked
            )
            for partition in range(KAFKA_PARTITIONS)
            for row in range(each)
        ]
        table = pa.Table.from_pylist(records, schema=schema)
        pq.write_table(table, folder / f"slice-{slice_id}-hour0-00.parquet", compression="zstd")


def _record(
    partition: int, offset: int, at: datetime, slice_id: str, picked: random.Random
) -> dict[str, Any]:
    event = ReadingEvent(
        event_id=f"{picked.getrandbits(128):032x}",
        user_id=f"u{picked.randrange(100_000)}",
        session_id=f"{picked.getrandbits(64):016x}",
        episode_id=f"ep{picked.randrange(5_000)}",
        event_type=EventType.SCROLL,
        country=picked.choice(["KR", "US", "JP"]),
        device=Device.PHONE,
        platform=Platform.IOS,
        timestamp=int(at.timestamp() * 1000) + picked.randrange(600_000),
        scroll_ratio=round(picked.random(), 4),
    )
    named = {field: getattr(event, field) for field in event.__struct_fields__}
    return {
        **{field: value for field, value in named.items() if isinstance(value, (str, int, float))},
        "event_time": at,
        "value": encode(event),
        "topic": "webtoon_user_events",
        "kafka_partition": partition,
        "kafka_offset": offset,
        "kafka_timestamp": at,
        "slice_id": slice_id,
    }


def copy_rows(source: Path, target: Path) -> None:
    """What reading and writing alone costs: no order, one file."""
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    target.mkdir()
    schema = QUARANTINED_EVENTS.arrow_schema()
    with pq.ParquetWriter(target / "part.parquet", schema, compression="zstd") as writer:
        for batch in ds.dataset(visible_files(source), schema=schema).to_batches(batch_size=100_000):
            writer.write_batch(batch)


def compact_ours(source: Path, target: Path, memory: str) -> None:
    """As ops__maintain does it."""
    limits = CompactionLimits(memory_limit=memory)
    merge_files(visible_files(source), QUARANTINED_EVENTS, target, "bench", limits)


def compact_spark(source: Path, target: Path) -> None:
    """The same by Spark: one sorted file of about the target's size (as many as the bytes need)."""
    from include.spark_jobs.session import batch_session, stopped_after

    files = visible_files(source)
    count = -(-sum(path.stat().st_size for path in files) // CompactionLimits().target_bytes)
    with stopped_after(batch_session("compaction")) as spark:
        (
            spark.read.schema(QUARANTINED_EVENTS.spark_schema())
            .parquet(*map(str, files))
            .repartitionByRange(count, "kafka_partition", "kafka_offset")
            .sortWithinPartitions("kafka_partition", "kafka_offset")
            .write.parquet(str(target))
        )


def measure(engine: str, source: Path, target: Path, memory: str) -> dict[str, Any]:
    """Seconds and peak memory (MiB) of the engine in a process of its own, start included."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.compaction",
        "--run",
        engine,
        str(source),
        str(target),
        memory,
    ]
    began = time.monotonic()
    process = psutil.Popen(command)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process))
        time.sleep(0.05)
    seconds = time.monotonic() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    import pyarrow.parquet as pq

    files = visible_files(target)
    return {
        "seconds": round(seconds, 1),
        "peak_mib": peak >> 20,
        "files": len(files),
        "mib": round(sum(path.stat().st_size for path in files) / (1 << 20), 1),
        "rows": sum(pq.read_metadata(path).num_rows for path in files),
    }


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> int:
    """Print the table and, last, the JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--files", type=int, default=144)
    parser.add_argument(
        "--memory", default=CompactionLimits().memory_limit, help="DuckDB's limit (%(default)s)"
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        engine, source, target, memory = arguments.run
        if engine == "ours":
            compact_ours(Path(source), Path(target), memory)
        else:
            {"copy": copy_rows, "spark": compact_spark}[engine](Path(source), Path(target))
        return 0
    print(f"machine: {machine()}", flush=True)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-compaction-", dir=".cache") as scratch:
        source = Path(scratch).resolve() / "small"
        source.mkdir()
        write_inputs(source, arguments.rows, arguments.files)
        for engine in arguments.engines:
            found[engine] = measure(engine, source, source.with_name(engine), arguments.memory)
            print(f"{engine:6} {found[engine]}", flush=True)
    print_json({"rows": arguments.rows, "files": arguments.files, "memory_limit": arguments.memory, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
