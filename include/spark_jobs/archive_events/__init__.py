"""Archive one recorded slice: Kafka -> contract -> staged Parquet (accepted events, dead letters).

`job` is the command line; `reader` reads exactly the recorded offsets; `transform` applies the contract;
`writer` writes the staging folder. Publication or quarantine follow the gate, in DAG events__archive.
"""
