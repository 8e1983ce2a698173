"""Archive slices: fixed as offset ranges, staged, placed into Hive tables, counted, compacted.

Lives here: what the archiving job and the steps around it share. Does not live here: reading Kafka
(`include.spark_jobs.archive_events`), and what a Hive table or a partition is (`include.common.hive`).
"""
