"""Limits of health checks: Airflow variables, read while a task runs."""

from airflow.sdk import Variable

from include.orchestration.connections import variable_default


def limit(key: str) -> float:
    """Variable `key` as a number, its default where it is not set; raises ValueError that names it."""
    value = Variable.get(key, default=variable_default(key))
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if number < 0:
        raise ValueError(f"variable {key} is {value!r}: set it to a number, 0 or more (Admin, Variables)")
    return number
