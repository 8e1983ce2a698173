"""A Spark driver that outlives the Airflow task that watches it.

- `operator`: the task: submits, reconnects, watches, restarts by its retries
- `launcher`: the detached process above spark-submit: holds the lock, stops in good order, records the end
- `driver_files`: what both share on disk, found by the driver's name
- `driver_log`: following the driver's log, and what it says of a failure
- `control_row`: ops.stream_control

No import here: the launcher must start without Airflow.
"""
