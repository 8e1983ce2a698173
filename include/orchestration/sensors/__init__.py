"""Sensors of producer health (DAG stream__watch_producers).

- `producer_health`: the checks as pure functions: what was found -> what is wrong, with figures
- `platform_scan`: which platforms sent events lately: a bounded read, newest records first
- `kafka_sensors`: the sensors; what they ask Kafka and the stream's ledger

Does not live here: the event contract (`include.contract`), alerts (`include.orchestration.alerts`).
"""
