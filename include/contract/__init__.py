"""What an event is and what a session means: pure Python, no Spark, no Airflow, no database.

Lives here:

- `event`: the one typed definition of a reading event, which decodes *and* validates;
- `derive`: the Spark, Arrow and JSON schemas and the field constraints, all read off that definition;
- `rules`: the four durations of the session rules;
- `sessions`: session features as a pure function of a set of events (the meaning);
- `bucket`: the incremental engine that keeps one hash bucket's open sessions (the speed), equal to
  `sessions` by property test.

Does not live here: how records arrive (`include.spark_jobs`), where rows go (`include.common`).
"""
