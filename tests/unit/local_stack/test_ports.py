"""Ports: overrides, doublets, ephemeral ones, and the message about a taken one."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack import ports
from local_stack.errors import StackError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    planned = ports.plan(tmp_path / "ports.json", use_ephemeral=False, environ={})
    assert {name: planned[name] for name in ("kafka", "postgres", "metastore", "thrift", "airflow", "slack")} == {
        "kafka": 19092, "postgres": 15432, "metastore": 19083, "thrift": 11000, "airflow": 8080, "slack": 19999,
    }  # fmt: skip


def test_the_environment_beats_what_was_saved(tmp_path: Path) -> None:
    saved = tmp_path / "ports.json"
    saved.write_text(json.dumps({"kafka": 20001, "postgres": 20002}))
    planned = ports.plan(saved, use_ephemeral=True, environ={"WEBTOON_PORT_KAFKA": "20003"})
    assert (planned["kafka"], planned["postgres"], planned["airflow"]) == (20003, 20002, 8080)


@pytest.mark.parametrize("value", ["0", "65536", "kafka", "-1", "80.5"])
def test_a_bad_port_is_refused_with_its_variable(value: str) -> None:
    with pytest.raises(StackError, match=r"WEBTOON_PORT_KAFKA=.*is not a port number"):
        ports.from_environment({"WEBTOON_PORT_KAFKA": value})


def test_one_port_for_two_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"15432 is given to .*WEBTOON_PORT_KAFKA or WEBTOON_PORT_POSTGRES"):
        ports.plan(tmp_path / "p", use_ephemeral=False, environ={"WEBTOON_PORT_KAFKA": "15432"})


def test_ephemeral_ports_are_all_different_and_free() -> None:
    numbers = ports.ephemeral()
    assert set(numbers) == set(ports.DEFAULT_PORTS)
    assert len(set(numbers.values())) == len(numbers)
    assert all(ports.is_free(port) for port in numbers.values())


def test_a_taken_port_gives_one_message_with_the_mend(taken_port: int) -> None:
    planned = ports.Ports({**ports.DEFAULT_PORTS, **ports.ephemeral(), "kafka": taken_port})
    (message,) = ports.conflicts(planned, ["kafka", "postgres"])
    assert f"port {taken_port} (kafka) is taken" in message
    suggested = int(message.rsplit("WEBTOON_PORT_KAFKA=", 1)[1])
    assert suggested != taken_port
    assert ports.is_free(suggested)


def test_every_component_has_ports() -> None:
    from local_stack.catalogue import COMPONENTS

    assert set(ports.PORTS_OF_COMPONENT) == set(COMPONENTS)
    named = {name for names in ports.PORTS_OF_COMPONENT.values() for name in names}
    assert named | {"supervisor"} == set(ports.DEFAULT_PORTS)
