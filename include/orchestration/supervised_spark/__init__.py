"""A Spark driver that outlives the Airflow task that started it.

- `operator`: the task: starts or finds the driver and defers; restarts by its retries
- `trigger`: watches while the task is deferred, by files and the database alone
- `pause`: stops the driver of a paused DAG
- `task_state`: what Airflow says of the task
- `driver`: starting, finding, judging and stopping
- `launcher`: the detached process above spark-submit: holds the lock, stops in good order, records the end
- `driver_files`: what both share on disk, found by the driver's name
- `driver_log`: following the driver's log, and what it says of a failure
- `control_row`: ops.stream_control

No import here: the launcher must start without Airflow.
"""
