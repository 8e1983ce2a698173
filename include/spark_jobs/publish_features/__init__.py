"""Publish closed readings and the published marts to Hive partitions.

`job` is the command line; `reader` takes one consistent look at PostgreSQL and verifies landing files;
`lineage` says from which generation of the stream a reading is published; `transform` joins the reference and
merges with what a partition holds; `writer` writes new folders; `history` adds what changed in the marts to their
histories; `backfill` publishes rebuilt days.
"""
