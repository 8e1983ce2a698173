"""Bring the stack up, down, tell its state: order, health, leftovers. Every step may be repeated after a crash."""

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_stack import sweep
from local_stack.catalogue import services as catalogue
from local_stack.commands import tail
from local_stack.context import PASSED_ON, Context
from local_stack.credentials import write_private
from local_stack.errors import StackError
from local_stack.health import NotHealthyError
from local_stack.hive import write_spark_conf
from local_stack.join import write_endpoints, write_env
from local_stack.launch import same_specification, specification, write_specification
from local_stack.memory_watch import LIMITS_FILE
from local_stack.paths import PROJECT_ROOT, StatePaths
from local_stack.ports import PORTS_OF_COMPONENT, conflicts, plan, save
from local_stack.service import Service
from local_stack.supervision import Supervisor, log_path

Say = Callable[[str], None]
_DRIVER_STOP_S = 75.0
"""A driver gives its micro-batch 60 s (stream_sessionize.supervision.STOP_LIMIT_S) before it cuts it off."""
_POLL_S = 0.25
_PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True)
class Options:
    """What `up` was asked for. `components` None: all."""

    state_dir: Path
    components: set[str] | None = None
    ephemeral_ports: bool = False
    durable: bool = True


@contextmanager
def _locked(paths: StatePaths) -> Iterator[None]:
    """One `up`, `down` or `clean` at a time in one state dir."""
    paths.root.mkdir(parents=True, exist_ok=True)
    with (paths.root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(f"another `up` or `down` works on {paths.root}: wait for it to end") from error
        yield


def open_stack(state_dir: Path) -> Context:
    """The stack that was started in `state_dir`, running or not."""
    return _context(Options(state_dir))


def _context(options: Options) -> Context:
    paths = StatePaths.at(options.state_dir)
    return Context(paths, plan(paths.ports_file, use_ephemeral=options.ephemeral_ports), options.durable)


def up(options: Options, say: Say) -> Context:
    """Start what is missing and wait until all is healthy; raises StackError with log lines."""
    context = _context(options)
    paths = context.paths
    with _locked(paths):
        paths.create()
        save(context.ports, paths.ports_file)
        chosen = catalogue(context, options.components)
        everything = catalogue(context)
        supervisor = Supervisor(paths, context.ports["supervisor"])
        if supervisor.pid() is None:
            _end_leftovers(paths, say)
            _require_free_ports(context, ["supervisor"])
        running = {name for name, report in supervisor.states().items() if report["pid"]}
        _require_free_ports(
            context,
            [
                port
                for component in dict.fromkeys(service.component for service in chosen)
                if not any(
                    service.name in running for service in everything if service.component == component
                )
                for port in PORTS_OF_COMPONENT[component]
            ],
        )
        limits = {service.name: service.memory_limit_mib for service in everything}
        write_private(paths.launch / LIMITS_FILE, json.dumps(limits))
        supervisor.start(everything)
        write_spark_conf(context)
        write_env(context)
        _start_in_order(context, supervisor, chosen, say)
        write_endpoints(context, chosen)
    return context


def _require_free_ports(context: Context, names: list[str]) -> None:
    taken = conflicts(context.ports, names)
    if taken:
        raise StackError("\n".join(taken))


def _start_in_order(context: Context, supervisor: Supervisor, chosen: list[Service], say: Say) -> None:
    """Start each service as soon as all it needs are healthy; several may be starting at a time."""
    waiting = list(chosen)
    starting: dict[str, tuple[Service, float]] = {}
    ready: set[str] = set()
    last_said = time.monotonic()
    while waiting or starting:
        for service in [service for service in waiting if ready.issuperset(service.needs)]:
            waiting.remove(service)
            _launch(context, supervisor, service, say)
            starting[service.name] = (service, time.monotonic())
        states = supervisor.states()
        for service, since in list(starting.values()):
            reason = _why_not_healthy(service)
            if reason is None:
                service.after_ready()
                say(f"  {service.name} is up ({time.monotonic() - since:.1f} s)")
                ready.add(service.name)
                del starting[service.name]
                continue
            _give_up_if_lost(context, service, states, since, reason)
        if starting and time.monotonic() - last_said >= _PROGRESS_EVERY_S:
            last_said = time.monotonic()
            for service, since in starting.values():
                say(
                    f"  ... {service.name}: waiting for {service.health_text}, "
                    f"{last_said - since:.0f} s of at most {service.ready_within_s:.0f} s"
                )
        if starting:
            time.sleep(_POLL_S)


def _launch(context: Context, supervisor: Supervisor, service: Service, say: Say) -> None:
    """Start `service`; a running one is left alone unless its command or environment has changed."""
    runs = supervisor.states().get(service.name, {}).get("statename") in ("RUNNING", "STARTING")
    path = context.paths.launch / f"{service.name}.json"
    wanted = specification(service.argv, service.env, service.cwd or PROJECT_ROOT)
    if runs and same_specification(path, wanted, besides=(*PASSED_ON, "PATH")):
        say(f"  {service.name}: already started")
        return
    say(f"  {service.name}: {'changed, restarting' if runs else 'starting'}")
    if runs:
        supervisor.stop_service(service.name)
    service.prepare()
    write_specification(path, wanted)
    supervisor.start_service(service.name)


def _why_not_healthy(service: Service) -> str | None:
    try:
        service.health()
    except NotHealthyError as error:
        return str(error)
    return None


def _give_up_if_lost(
    context: Context, service: Service, states: Mapping[str, Mapping[str, Any]], since: float, reason: str
) -> None:
    state = states.get(service.name, {}).get("statename", "GONE")
    log = log_path(context.paths, service.name)
    if state in ("FATAL", "EXITED", "GONE"):
        raise StackError(
            f"{service.name} ended while starting ({state}). Last lines of its log:\n{tail(log)}"
        )
    if time.monotonic() - since > service.ready_within_s:
        raise StackError(
            f"{service.name} is not healthy after {service.ready_within_s:.0f} s ({reason}). "
            f"Last lines of its log:\n{tail(log)}"
        )


def down(state_dir: Path, say: Say) -> None:
    """Stop everything the stack started, detached Spark drivers too; fine on a half-up or dead stack."""
    paths = StatePaths.at(state_dir)
    if not paths.root.exists():
        say("nothing to stop: no state dir")
        return
    with _locked(paths):
        context = open_stack(state_dir)
        paths.create()
        supervisor = Supervisor(paths, context.ports["supervisor"])
        states = supervisor.states()
        running = [
            service
            for service in sorted(catalogue(context), key=lambda service: service.stop_order)
            if states.get(service.name, {}).get("pid")
        ]
        drivers_ended = False
        for service in running:
            if service.stop_order > 20 and not drivers_ended:
                _end_drivers(paths, say)
                drivers_ended = True
            say(f"  {service.name}: stopping")
            supervisor.stop_service(service.name)
        supervisor.shut_down()
        _end_leftovers(paths, say)
    say("everything of this stack is stopped")


def _end_drivers(paths: StatePaths, say: Say) -> None:
    """Detached Spark drivers, gracefully, while Kafka and PostgreSQL still run."""
    supervisor = _pid_in(paths.supervisord_pid)
    kept = sweep.descendants(supervisor) if supervisor else set()
    for name in sweep.end(sweep.leftovers(paths.root, keep=kept), within_s=_DRIVER_STOP_S):
        say(f"  {name}: stopped")


def _end_leftovers(paths: StatePaths, say: Say) -> None:
    for name in sweep.end(sweep.leftovers(paths.root), within_s=20):
        say(f"  left over from before: {name} ended")


def _pid_in(path: Path) -> int | None:
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdigit() and psutil.pid_exists(int(text)) else None


def clean(state_dir: Path, say: Say) -> None:
    """Stop everything and delete the state dir."""
    down(state_dir, say)
    paths = StatePaths.at(state_dir)
    paths.remove()
    say(f"removed {paths.root}")


@dataclass(frozen=True)
class ServiceState:
    """One line of `status`."""

    name: str
    state: str
    pid: int
    memory_mib: float
    limit_mib: int
    reason: str | None


def status(state_dir: Path) -> list[ServiceState]:
    """State of every service; `reason` says what is not healthy."""
    from local_stack.memory_watch import tree_memory_mib

    paths = StatePaths.at(state_dir)
    if not paths.ports_file.exists():
        return []
    context = open_stack(state_dir)
    reports = Supervisor(paths, context.ports["supervisor"]).states()
    lines = []
    for service in catalogue(context):
        report = reports.get(service.name, {})
        pid = int(report.get("pid", 0))
        lines.append(
            ServiceState(
                service.name,
                str(report.get("statename", "STOPPED")),
                pid,
                tree_memory_mib(pid) if pid else 0.0,
                service.memory_limit_mib,
                _why_not_healthy(service) if pid else None,
            )
        )
    return lines
