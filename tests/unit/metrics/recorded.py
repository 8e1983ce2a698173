"""What the dashboard and the alert rules use of Airflow's metrics: Prometheus' name -> labels besides job, instance.

tests/integration/test_metrics_airflow.py holds it to what the real Airflow sends. `_milliseconds` are exponential
histograms, which Prometheus keeps under this one name.
"""

AIRFLOW_SERIES: dict[str, tuple[str, ...]] = {
    "airflow_dag_processor_heartbeat_total": (),
    "airflow_dagrun_duration_failed_milliseconds": ("dag_id",),
    "airflow_dagrun_duration_success_milliseconds": ("dag_id",),
    "airflow_pool_running_slots": ("pool_name",),
    "airflow_scheduler_heartbeat_total": (),
    "airflow_ti_finish_total": ("dag_id", "task_id", "state"),
    "airflow_triggerer_heartbeat_total": (),
}
