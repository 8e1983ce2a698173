"""The Hive database without Hive: tables, the metastore, partitions' files, publications.

- `schema`, `tables`: what a Hive table is here; every table's columns
- `metastore`, `table_lock`: tables and partitions over Thrift; one at a time changes which files readers see
- `files`, `parquet_rows`, `partition_statistics`: a partition's files, rows in them, what their footers count
- `publications`, `mart_changes`: new folder, then the partition points at it; the outbox of the histories
- `unreferenced_folders`: folders that no partition points at
- `reading`: tables as Arrow datasets

Does not live here: what belongs to slices of the archive alone (`include.common.archive`).
"""
