"""What several parts share: names, settings, and access to PostgreSQL, Kafka and Hive.

| | |
| --- | --- |
| `names`, `settings`, `thresholds`, `freshness_slos` | one registry of names; settings of processes, and those that people change |
| `postgres`, `migrate`, `migrations/` | the database: access, and its schema as numbered SQL files |
| `kafka/` | offsets, topics, security |
| `hive/` | tables, metastore, partitions' files, publications |
| `archive/` | archive slices, from offsets to compacted files |
| `reference/` | titles, episodes, time zones, thresholds: files checked, tables versioned |
| `erasure/` | erased readers, and their rows taken out of the batch store |
| `lineage/` | OpenLineage events |
| `retention` | how long Hive's partitions and landing files stay |
| `backfills`, `spark_conf` | rebuilt days; settings of Spark that only a command line can set |
| `processes` | recognising a process again, whatever becomes of pids and clocks |
| `packed` | bytes packed so that a search finds them again |

Does not live here: what an event or a feature means (`include.contract`), and anything that knows Airflow
(`include.orchestration`).
"""
