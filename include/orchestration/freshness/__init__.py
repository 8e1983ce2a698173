"""Freshness of every published table against its SLO (DAG ops__watch_freshness).

- `measure`, `*.sql`: what the ledgers and the topic say
- `judge`: met or missed, and what is told of it: pure functions
- `history`: rows of ops.freshness
- `tasks`: the DAG's tasks; `app`, `html`: page "Freshness" of Airflow's user interface

Does not live here: the list of tables and SLOs (`include.common.freshness_slos`), the page's registration with Airflow
(`plugins/freshness_page.py`).
"""
