"""Health of the stream by what it has committed (DAG stream__watch_progress).

- `measure`, `measure.sql`: one query of the ledger, one look at Kafka
- `faults`: what was measured -> what is wrong, with figures: pure functions
- `tasks`: the DAG's tasks

Does not live here: the probe that has the driver restarted (`include.orchestration.stream_health`), the checks of the
producers (`include.orchestration.sensors`).
"""
