"""Simulated readers, and the Kafka producer that sends what they do.

- `population`, `places`, `catalogue`, `titles`, `experiments`: who reads what, where, with which true A/B effects
- `visits`, `timeline`: what one reader does, and when visits begin
- `disorder`, `arrivals`, `faults`: delays, late events and repeats; the order of arrival; bad records of each kind
- `plan`, `traffic`, `producer`, `replay`: what a run is to produce, its records, sending them; a JSON Lines file
- `cli`: `python -m include.simulator produce | replay | reference`

Does not live here: what an event may be (`include.contract`), the DAG's form (`include.orchestration.simulate`),
loading the reference CSV files (`include.common.reference.store`).
"""
