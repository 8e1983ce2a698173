"""What one supervised process is: command, environment, health check, limits, order of stopping."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HealthCheck = Callable[[], None]
"""Returns when healthy, raises local_stack.health.NotHealthyError with the reason otherwise."""


def _nothing() -> None:
    """No work needed."""


@dataclass(frozen=True)
class Service:
    """One process.

    `memory_limit_mib` is watched over the process and its children (JVMs also get their heap limit in
    `argv`). `needs` are service names that must be healthy before `prepare` runs. Services stop in
    ascending `stop_order`. `prepare` is safe to repeat after a crash at any point; `after_ready` too.
    """

    name: str
    component: str
    argv: tuple[str, ...]
    health: HealthCheck
    health_text: str
    ready_within_s: float
    memory_limit_mib: int
    stop_order: int
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    stop_signal: str = "TERM"
    stop_within_s: int = 20
    prepare: Callable[[], None] = _nothing
    after_ready: Callable[[], None] = _nothing
    cwd: Path | None = None


def wanted(services: list[Service], components: set[str] | None) -> list[Service]:
    """Services of `components` (all where None) and what they need, in the order given."""
    if components is None:
        return services
    by_name = {service.name: service for service in services}
    names: set[str] = set()
    queue = [service.name for service in services if service.component in components]
    while queue:
        name = queue.pop()
        if name not in names:
            names.add(name)
            queue.extend(by_name[name].needs)
    return [service for service in services if service.name in names]
