"""What an event is and what a session means: pure Python, no Spark, no Airflow, no database.

Lives here:

- `event`: the one typed definition of a reading event, which decodes *and* validates;
- `derive`: the Spark, Arrow and JSON schemas and the field constraints, all read off that definition;
- `rules`: the four durations of the session rules;
- `sessions`: session features as a pure function of a set of events (the meaning);
- `bucket`: the incremental engine that keeps one hash bucket's open sessions (the speed), with
  `session_state` (one session_id), `encoded_session` (its bytes) and `flat_rows` (its arithmetic); equal to `sessions` by
  property test, and both to `tests/vectors/*.yaml` and to the SQL of `tests/oracle`;
- `countries`: the assigned ISO 3166-1 codes.

`python -m include.contract` prints the JSON Schema. Nothing heavy is imported with any module.

Does not live here: how records arrive and where rows go (`include.spark_jobs`), names of topics and tables
(`include.common`). This package imports nothing of the project.
"""
