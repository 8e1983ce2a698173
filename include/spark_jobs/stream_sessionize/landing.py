"""Landing of closed readings: one Parquet file a micro-batch. A file counts only if the ledger lists it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class LandingFile:
    """`path` is relative to the landing folder; all None or 0 for a micro-batch that closed nothing."""

    path: str | None
    rows: int
    sha256: str | None


def write_landing(landing_dir: Path, generation: int, batch_id: int, final: "pa.Table") -> LandingFile:
    """Write the micro-batch's final readings, durably, before the ledger lists the file.

    The name carries the content's hash, so a repeated micro-batch replaces its own file or leaves one that
    no ledger row lists; neither is read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if final.num_rows == 0:
        return LandingFile(None, 0, None)
    sink = pa.BufferOutputStream()
    pq.write_table(final, sink, compression="zstd")
    content = sink.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    relative = Path(f"generation={generation}") / f"batch={batch_id:09d}-{digest[:8]}.parquet"
    target = landing_dir / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return LandingFile(relative.as_posix(), final.num_rows, digest)
