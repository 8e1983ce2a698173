"""The native stack: Kafka, PostgreSQL, Hive metastore, Spark Thrift Server, Airflow and a Slack stand-in.

No Docker: every part is a process kept by supervisord, with a health check, a log and a memory limit.
`python -m local_stack up` starts it, `down` stops it, `clean` removes its state; the Makefile wraps them.
"""
