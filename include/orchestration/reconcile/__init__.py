"""Stream = batch: closed days of Hive's session_features against a recomputation from the archived events, in SQL.

Nothing here comes from the stream or the contract's rules (a test holds it to that): sessions, readings, repeats and
lateness are written down a second time in `sql/`, from DESIGN section 4. The durations are settings of a generation and
are read from ops.stream_generations.

`inputs` reads what any day rests on; `published` looks at PostgreSQL: what is published, of which generations, what the
archive holds; `archive` is the archived events as files; `duck` opens DuckDB; `engine` recomputes one day there;
`comparison` holds it against the published rows; `day` says whether a day can be checked at all; `model` is what the
parts hand on; `record` writes quality.reconciliation, `report` the page; `tasks` is Airflow's side. It stands in
`include.orchestration`, as `roll_out` does: functions over stores that only a DAG of ours runs.
"""
