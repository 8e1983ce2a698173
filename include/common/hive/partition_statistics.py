"""Statistics of a partition, from the footers of its files: what engines plan joins and scans by."""

from pathlib import Path

from include.common.hive.files import visible_files


def partition_statistics(folder: Path) -> dict[str, str]:
    """Hive's basic statistics of what readers of `folder` see, as partition parameters.

    `numRows`, `numFiles`; `totalSize` in bytes on disk, `rawDataSize` in bytes before compression.
    """
    import pyarrow.parquet as pq

    files = visible_files(folder)
    footers = [pq.read_metadata(path) for path in files]
    raw = sum(
        footer.row_group(number).total_byte_size
        for footer in footers
        for number in range(footer.num_row_groups)
    )
    return {
        "numFiles": str(len(files)),
        "numRows": str(sum(footer.num_rows for footer in footers)),
        "totalSize": str(sum(path.stat().st_size for path in files)),
        "rawDataSize": str(raw),
    }
