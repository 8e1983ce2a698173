"""Ports of the stack: defaults, overrides by environment, ephemeral ones for tests, and who is in the way."""

import json
import os
import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError

HOST = "127.0.0.1"
DEFAULT_PORTS: Mapping[str, int] = {
    "supervisor": 19001,
    "kafka": 19092,
    "kafka_controller": 19093,
    "postgres": 15432,
    "metastore": 19083,
    "thrift": 11000,
    "airflow": 8080,
    "slack": 19999,
    "docs": 18081,
    "metrics": 19464,
}
PORTS_OF_COMPONENT: Mapping[str, tuple[str, ...]] = {
    "kafka": ("kafka", "kafka_controller"),
    "postgres": ("postgres",),
    "metastore": ("metastore",),
    "thrift": ("thrift",),
    "slack": ("slack",),
    "docs": ("docs",),
    "metrics": ("metrics",),
    "airflow": ("airflow",),
}


def variable(name: str) -> str:
    """Environment variable that moves port `name`, for one WEBTOON_PORT_KAFKA."""
    return f"WEBTOON_PORT_{name.upper()}"


@dataclass(frozen=True)
class Ports:
    """Port number by name (the keys of DEFAULT_PORTS)."""

    numbers: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]

    def address(self, name: str) -> str:
        """`127.0.0.1:<port>`."""
        return f"{HOST}:{self.numbers[name]}"


def from_environment(environ: Mapping[str, str]) -> dict[str, int]:
    """Overrides set in `environ`; raises StackError where one is no port number."""
    overrides = {}
    for name in DEFAULT_PORTS:
        value = environ.get(variable(name), "")
        if not value:
            continue
        if not value.isdigit() or not 1 <= int(value) <= 65535:
            raise StackError(f"{variable(name)}={value!r} is not a port number (1-65535)")
        overrides[name] = int(value)
    return overrides


def ephemeral() -> dict[str, int]:
    """A free port for every name, all different.

    Drawn below the range that systems give to outgoing connections (32768 and up): a part that starts
    minutes later must still find its port free.
    """
    candidates = random.SystemRandom().sample(range(20000, 32000), 400)
    free = (port for port in candidates if is_free(port))
    return {name: next(free) for name in DEFAULT_PORTS}


def plan(saved: Path, *, use_ephemeral: bool, environ: Mapping[str, str] = os.environ) -> Ports:
    """Ports of the stack whose choice is kept in file `saved`.

    Environment beats what was saved, which beats the defaults (or fresh free ports). Raises StackError
    where two names got one port.
    """
    numbers = dict(DEFAULT_PORTS)
    if saved.exists():
        numbers.update(json.loads(saved.read_text()))
    elif use_ephemeral:
        numbers.update(ephemeral())
    numbers.update(from_environment(environ))
    names_by_port: dict[int, list[str]] = {}
    for name, port in numbers.items():
        names_by_port.setdefault(port, []).append(name)
    for port, names in names_by_port.items():
        if len(names) > 1:
            raise StackError(
                f"port {port} is given to {' and '.join(names)}: set {' or '.join(map(variable, names))}"
            )
    return Ports(numbers)


def save(ports: Ports, saved: Path) -> None:
    """Keep the choice for the next `up` of the same state dir."""
    saved.write_text(json.dumps(dict(ports.numbers), indent=1) + "\n")


def is_free(port: int) -> bool:
    """Can a server bind `port` on the loopback address now?"""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True


def conflicts(ports: Ports, names: Iterable[str]) -> list[str]:
    """One message a taken port of `names`, each with the variable that moves it."""
    return [
        f"port {ports[name]} ({name}) is taken by another program: stop that program, "
        f"or choose another port: export {variable(name)}={_suggestion(ports[name])}"
        for name in names
        if not is_free(ports[name])
    ]


def _suggestion(taken: int) -> int:
    candidate = taken + 100
    while not is_free(candidate):
        candidate += 1
    return candidate
