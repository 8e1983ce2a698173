"""What makes the project's work an Airflow DAG: policy, assets, alerts, operators, and the functions tasks call.

Lives here: everything that knows Airflow. Does not live here: what an event or a feature means
(`include.contract`), access to stores (`include.common`), Spark jobs (`include.spark_jobs`).
"""
