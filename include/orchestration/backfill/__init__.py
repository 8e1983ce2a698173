"""Backfill and repair: days of Hive's session_features rebuilt from the archived events.

The rows are made by the contract's own engine (`include.contract`), not by the SQL of `include.orchestration.reconcile`:
features__reconcile stays an independent check of what is written here. Which days can be rebuilt, what is published and
where the archived events lie is asked of the reconciliation: both must know the same.

`form` is what a person asks for; `plan` says of each day whether it can be rebuilt; `source` is the archived events as
records; `replay` runs the engine over them; `revision` adds late events; `rebuild` makes the rows of a day as Parquet;
`comparison` holds them against the partition; `report` is what a person reads; `tasks` is Airflow's side. The Spark job
publish_features publishes: it stays the one writer of session_features.
"""
