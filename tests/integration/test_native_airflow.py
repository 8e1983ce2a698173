"""Native Airflow: healthy, guarded by its password, with the project's pools and no broken DAG file."""

from pathlib import Path

import psutil
import pytest

from include.common.names import Dag
from local_stack import registry, stack, sweep
from local_stack.airflow_api import AirflowApi
from local_stack.errors import StackError
from tests.integration.conftest import AirflowStack


def test_everything_is_healthy_and_within_its_memory(airflow_stack: AirflowStack) -> None:
    states = stack.status(airflow_stack.context.paths.root)
    assert len(states) == 11
    assert [(state.name, state.reason) for state in states if state.reason is not None or not state.pid] == []
    assert [state.name for state in states if state.memory_mib > state.limit_mib] == []


def test_the_projects_pools_are_there(airflow_stack: AirflowStack) -> None:
    answer = airflow_stack.api.call("GET", "/pools")
    slots = {pool["name"]: pool["slots"] for pool in answer["pools"]}
    assert {name: slots.get(name) for name, _, _ in registry.pools()} == {
        name: count for name, count, _ in registry.pools()
    }
    name, count, text = registry.pools()[0]
    airflow_stack.api.put_pool(name, count, text)  # a second `make up` does this


def test_every_dag_file_parses(airflow_stack: AirflowStack) -> None:
    every = {dag_id for name, dag_id in vars(Dag).items() if name.isupper()}
    airflow_stack.api.wait_for_dags(every, timeout_s=120)
    assert airflow_stack.api.import_errors() == []


def test_a_wrong_password_is_refused(airflow_stack: AirflowStack) -> None:
    intruder = AirflowApi(airflow_stack.api.base_url, "admin", "guess")
    with pytest.raises(StackError, match="refuses user admin"):
        intruder.dag_ids()


def test_down_would_find_every_process_without_supervisord(airflow_stack: AirflowStack) -> None:
    root = airflow_stack.context.paths.root
    children = {
        state.name: psutil.Process(state.pid).children(recursive=True)
        for state in stack.status(root)
        if state.name != "postgres"  # its children end with it
    }
    found = {process.pid for process in sweep.leftovers(root)}
    assert {state.pid for state in stack.status(root)} <= found
    for name, family in children.items():
        # some live for a moment only
        alive = {child.pid for child in family if is_alive(child)}
        assert alive <= found, name
    assert any(children.values())


def is_alive(process: psutil.Process) -> bool:
    """Is it still there, and not as a zombie?"""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_is_written_to_the_home_folder(airflow_stack: AirflowStack) -> None:
    home = str(airflow_stack.context.paths.home)
    homes = {
        psutil.Process(state.pid).environ().get("HOME")
        for state in stack.status(airflow_stack.context.paths.root)
    }
    assert homes <= {home, None}
    assert home in homes
    assert Path(airflow_stack.env["TMPDIR"]).is_relative_to(airflow_stack.context.paths.root)
