"""`make demo`: the whole main job on a running stack, and what came of it.

- `clock`: what a person sees while the demo works: numbered steps, what each waits for and how long it may take
- `stores`: what the demo asks of Kafka, PostgreSQL and Hive
- `runs`: DAG runs, started and awaited through Airflow's REST API
- `steps`: the job itself: everything is done by DAGs, the demo only triggers and waits
- `summary`: the tables at the end, and the checks that make the exit status

Not here: starting the stack (`local_stack.stack`), and any work on the data (the DAGs').
"""
