"""The stateful stream: topic -> open sessions by hash bucket -> realtime.* and the landing of closed readings.

- `arguments`: the command line
- `job`: life cycle (start, heartbeat, graceful stop, errors a person can act on)
- `query`, `warm_up`: what a micro-batch does, and the start of it; the first one's start-up work
- `worker_keeper`: Python workers outlive a minute in which nothing comes
- `preflight`: topics and database, before Spark starts
- `supervision`: heartbeat, stop in good order
- `handover`: two drivers and one checkpoint
- `reader`: the Kafka source and the bucket column
- `packing`, `placement`: records of a bucket as one value, keys that share the buckets evenly among the tasks
- `bucket_log`: state as a log (one entry a micro-batch, a base now and then) and the worker's cache
- `processor`: Spark's StatefulProcessor: records of a bucket in, encoded changes out
- `collector`: Python's collector of cycles in the workers
- `changes`: the bytes in which changes travel from the Python workers to the driver
- `landing`: one Parquet file a micro-batch with the readings that became final
- `statements`: the SQL of `sql/` for each schema
- `forgetting`, `erased_rows`: erased readers leave state, checkpoint, rows and landing, and do not come back
- `pruning`: old rows leave realtime, beside the query
- `sink`: what foreachBatch calls: collects a micro-batch and has it written while Spark goes on to the next one
- `rewind`: a checkpoint that is ahead of the ledger is taken back to it
- `writer`: the single PostgreSQL transaction of a micro-batch (`sql/`)
- `generations`: checkpoint lineages, their start offsets, and a micro-batch's offset ranges
- `spark`: the session's settings
- `state_version`: which versions of the state a checkpoint holds, and the refusal of others
- `progress`: one row a micro-batch in ops.stream_progress
- `metrics`: OTLP
- `lineage`: OpenLineage, once a start
"""
