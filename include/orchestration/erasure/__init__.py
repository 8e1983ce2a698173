"""privacy__erase_user and privacy__prove_erasures: what forgets a reader, and the search that proves it.

An id travels in no XCom, log, template or message: tasks pass `erasure_id`, and read the id from `ops.erasures`, where it
is encrypted, when they need it.

- `request`: the form
- `stream_step`, `batch_steps`, `tasks`: the DAG's tasks
- `airflow_traces`, `airflow_rest`: what Airflow keeps
- `search`, `search_files`, `search_postgres`, `search_kafka`, `finding`, `places`: the search
- `prove`: the second one

What else takes part: `include.common.erasure` (who is erased; rows of the batch store),
`include.orchestration.model.erasure` (the marts), `forgetting` and `erased_rows` of
`include.spark_jobs.stream_sessionize` (all that the stream owns).
"""
