"""Trace: from a served or trained value back to its cut, gates, micro-batches, Kafka offsets and raw events.

`address` says which value; `run` opens the stores; `build` follows it through PostgreSQL (`store`), Hive (`hive_rows`)
and, for what is not archived yet, Kafka (`events`), `raw_side` the links below a reading; `chain` is what was found;
`recompute` adds the value up anew by plain SQL that shares nothing with the stream or dbt; `sections` and `show` make a
text or a page of it. Reads only. No Airflow import: `make trace`, and `ops__trace_value` for people without a shell.
"""
