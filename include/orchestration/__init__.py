"""What makes the project's work an Airflow DAG: policy, assets, alerts, operators, and the functions tasks call.

What every DAG uses:

- `policy`: owner, tags, retries; `deadlines`: a run that takes too long; `assets`: what DAGs are scheduled by
- `alerts`, `alert_text`: what Slack is told, and its words
- `connections`, `job_environment`: connections, variables and pools; where the stores are
- `limits`: limits of health checks, from variables
- `gates`: Great Expectations; `gate_history/`: what it compares with, and the page of it
- `spark_batch`: short Spark jobs; `supervised_spark/`: a driver that outlives its task
- `dbt/`: how dbt runs, what follows its build, is its docs page up to date
- `lineage`: what tasks tell OpenLineage
- `pages/`: what pages for people share, and web applications made at their first request

What one DAG's tasks do, by domain:

- stream: `stream_health` (the probe of stream__sessionize), `progress_page/`, `ticks` (stream__send_tick), `sensors/`
  (stream__watch_producers), `stream_checks/` (stream__watch_progress), `roll_out/`
- events, quality: `archive`, `release_slice`
- features: `model/`, `publish_batch`, `reconcile/`, `backfill/`
- ops: `migrate_store`, `maintain`, `prune_realtime` (ops__maintain, too), `freshness/`, `trace_value`
- reference, simulate, report, privacy: `reference_load`, `simulate`, `daily_report/`, `erasure/`

Lives here: everything that knows Airflow. Does not live here: what an event or a feature means
(`include.contract`), access to stores (`include.common`), Spark jobs (`include.spark_jobs`).
"""
