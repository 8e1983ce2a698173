"""Command line of the native stack: up, down, status, clean, doctor, logs."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from local_stack.errors import StackError
from local_stack.paths import DEFAULT_STATE_DIR


def _components(text: str) -> set[str]:
    from local_stack.catalogue import COMPONENTS

    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = names.difference(COMPONENTS)
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"unknown part {', '.join(sorted(unknown)) or repr(text)}; choose from {', '.join(COMPONENTS)}"
        )
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state-dir", type=Path, default=DEFAULT_STATE_DIR, help="where this stack keeps everything (.stack)"
    )
    top = argparse.ArgumentParser(prog="python -m local_stack", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", parents=[common], help="start what is missing, wait until healthy")
    start.add_argument("--only", type=_components, help="comma-separated parts (and what these need)")
    start.add_argument("--ephemeral-ports", action="store_true", help="free ports, not the usual ones")
    start.add_argument("--not-durable", action="store_true", help="for tests: PostgreSQL without fsync")
    commands.add_parser("down", parents=[common], help="stop everything this stack started")
    commands.add_parser("status", parents=[common], help="state, health and memory of each process")
    commands.add_parser("clean", parents=[common], help="down, then delete the state dir")
    doctor = commands.add_parser("doctor", parents=[common], help="is this machine fit? says how to mend it")
    doctor.add_argument("--ephemeral-ports", action="store_true", help="do not look at the usual ports")
    logs = commands.add_parser("logs", parents=[common], help="last lines of each log")
    logs.add_argument("service", nargs="?", help="one process; all where left out")
    return top


def _say(line: str) -> None:
    print(line, flush=True)


def _up(arguments: argparse.Namespace) -> int:
    from local_stack import stack

    started = time.monotonic()
    _say(f"starting the stack in {arguments.state_dir} (first time: up to 3 minutes)")
    options = stack.Options(
        arguments.state_dir, arguments.only, arguments.ephemeral_ports, not arguments.not_durable
    )
    context = stack.up(options, _say)
    if arguments.only is None or "airflow" in arguments.only:
        _say(
            f"Airflow: http://{context.ports.address('airflow')} user admin, password in "
            f"{context.paths.secrets / 'airflow_admin'}; messages to Slack: http://{context.ports.address('slack')}"
        )
    _say(f"up in {time.monotonic() - started:.0f} s; join it with: source {context.paths.env_file}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from local_stack import stack

    lines = stack.status(arguments.state_dir)
    if not any(line.pid for line in lines):
        _say(f"not running (state dir {arguments.state_dir}); start it with: make up")
        return 3
    _say(f"{'process':<22}{'state':<10}{'pid':>8}{'MiB':>7}{'limit':>7}  health")
    for line in lines:
        health = "-" if not line.pid else (line.reason or "healthy")
        _say(
            f"{line.name:<22}{line.state:<10}{line.pid:>8}{line.memory_mib:>7.0f}{line.limit_mib:>7}  {health}"
        )
    _say(f"{'together':<40}{sum(line.memory_mib for line in lines):>7.0f}")
    return 0 if all(line.pid == 0 or line.reason is None for line in lines) else 1


def _logs(arguments: argparse.Namespace) -> int:
    from local_stack.commands import tail
    from local_stack.paths import StatePaths

    folder = StatePaths.at(arguments.state_dir).logs
    files = sorted(folder.glob(f"{arguments.service or '*'}.log"))
    if not files:
        raise StackError(f"no log of {arguments.service or 'anything'} in {folder}")
    for file in files:
        _say(f"== {file.stem}")
        _say(tail(file, 200 if arguments.service else 12))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0, 1 for a StackError (its message on stderr), 2 for bad usage."""
    parsed = parser().parse_args(arguments)
    try:
        if parsed.command == "up":
            return _up(parsed)
        if parsed.command == "status":
            return _status(parsed)
        if parsed.command == "logs":
            return _logs(parsed)
        if parsed.command == "doctor":
            from local_stack import doctor

            return doctor.report(parsed.state_dir, check_ports=not parsed.ephemeral_ports, say=_say)
        from local_stack import stack

        (stack.down if parsed.command == "down" else stack.clean)(parsed.state_dir, _say)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was started keeps running: `make down` stops it", file=sys.stderr)
        return 130
    return 0
