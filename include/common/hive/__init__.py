"""The Hive database without Hive: tables, the metastore, partitions' files, publications, retention.

Does not live here: what belongs to slices of the archive alone (`include.common.archive`).
"""
