"""Short Spark jobs of ours through the Spark provider's operator."""

from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from include.common.names import Conn, Pool
from include.orchestration.job_environment import PROJECT_ROOT, jars_dir, job_environment
from include.orchestration.lineage import lineage_environment

if TYPE_CHECKING:
    from airflow.sdk import Context


class SparkBatchOperator(SparkSubmitOperator):
    """Runs `include/spark_jobs/<job>/job.py` with `application_args` (templated), one at a time (pool spark).

    The job finds the stores in its environment, filled from Airflow's connections when the task runs, so no
    password stands in a rendered template. Fails with the job's exit status; its one-line reason is in the log.
    """

    def __init__(
        self, *, job: str, application_args: list[str], driver_memory: str = "1g", **kwargs: Any
    ) -> None:
        super().__init__(
            application=str(PROJECT_ROOT / "include" / "spark_jobs" / job / "job.py"),
            name=job,
            application_args=application_args,
            conn_id=Conn.SPARK,
            driver_memory=driver_memory,
            pool=kwargs.pop("pool", Pool.SPARK),
            **kwargs,
        )

    def execute(self, context: "Context") -> None:
        """Fill environment and jars, then submit and wait."""
        self.env_vars = job_environment() | lineage_environment(context["ti"])
        self.jars = ",".join(str(jar) for jar in sorted(jars_dir().glob("*.jar")))
        super().execute(context)
