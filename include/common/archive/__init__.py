"""Archive slices: fixed as offset ranges, staged, placed into Hive tables, counted, compacted.

- `slices`, `slice_files`: offset ranges in ops.archive_slices; their files, staged and placed
- `placing`: a slice into a table, also again
- `accounting`: produced = archived + quarantined + dead letters, by offset
- `quarantined_rows`: which expectations a row broke, and the way back to raw_events
- `compaction`, `table_compaction`: small files put together; which partitions, and the step to the new folder

Lives here: what the archiving job and the steps around it share. Does not live here: reading Kafka
(`include.spark_jobs.archive_events`), and what a Hive table or a partition is (`include.common.hive`).
"""
