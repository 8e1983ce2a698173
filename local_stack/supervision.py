"""supervisord: rendering its configuration, starting it, and asking it over its loopback XML-RPC."""

import hashlib
import http.client
import os
import shlex
import subprocess
import time
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from local_stack.credentials import password, write_private
from local_stack.errors import StackError
from local_stack.launch import MARKER
from local_stack.paths import PROJECT_ROOT, StatePaths, python
from local_stack.ports import HOST
from local_stack.service import Service

LOG_LIMIT = "20MB"


def log_path(paths: StatePaths, name: str) -> Path:
    """Log file of process `name`."""
    return paths.logs / f"{name}.log"


def _command(*argv: object) -> str:
    return shlex.join(str(word) for word in argv)


def render(services: list[Service], paths: StatePaths, port: int, secret: str) -> str:
    """The supervisord configuration of `services`; they are started by us, in order, not by supervisord."""
    for folder in (paths.root, PROJECT_ROOT):
        if "%" in str(folder):
            raise StackError(f"supervisord cannot work in a folder with % in its name: {folder}")
    digest = hashlib.sha1(
        secret.encode(), usedforsecurity=False
    ).hexdigest()  # the one form supervisord reads
    lines = [
        "; rendered by local_stack.supervision; edits are overwritten by the next `make up`",
        "[supervisord]",
        f"logfile={log_path(paths, 'supervisord')}",
        "logfile_maxbytes=5MB",
        f"pidfile={paths.supervisord_pid}",
        f"childlogdir={paths.logs}",
        f"directory={PROJECT_ROOT}",
        "silent=true",
        *(["user=root"] if os.geteuid() == 0 else []),
        "",
        "[inet_http_server]",
        f"port={HOST}:{port}",
        "username=stack",
        f"password={{SHA}}{digest}",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "",
        "[eventlistener:memory_watch]",
        f"command={_command(python(), '-m', 'local_stack.memory_watch', paths.root)}",
        "events=TICK_5",
        "stopsignal=KILL",  # it holds nothing, and would first end its tick
        f"stderr_logfile={log_path(paths, 'memory_watch')}",
        "autorestart=true",
    ]
    for service in services:
        specification = paths.launch / f"{service.name}.json"
        lines += [
            "",
            f"[program:{service.name}]",
            f"command={_command(python(), '-m', 'local_stack.launch', specification)}",
            f"directory={PROJECT_ROOT}",
            "autostart=false",
            "autorestart=true",
            "startsecs=1",
            "startretries=3",
            f"stopsignal={service.stop_signal}",
            f"stopwaitsecs={service.stop_within_s}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={log_path(paths, service.name)}",
            f"stdout_logfile_maxbytes={LOG_LIMIT}",
            "stdout_logfile_backups=1",
        ]
    return "\n".join(lines) + "\n"


class Supervisor:
    """The supervisord of one state dir."""

    def __init__(self, paths: StatePaths, port: int) -> None:
        self._paths = paths
        self._port = port
        self._secret = password(paths.secrets, "supervisor")

    def _call(self, method: str, *arguments: object) -> Any:
        with xmlrpc.client.ServerProxy(f"http://stack:{self._secret}@{HOST}:{self._port}/RPC2") as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def pid(self) -> int | None:
        """supervisord's pid if it runs and is ours, else None."""
        try:
            return int(self._call("getPID"))
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            return None

    def start(self, services: list[Service]) -> None:
        """Start supervisord (no services yet), or have a running one read its configuration again."""
        write_private(self._paths.supervisord_conf, render(services, self._paths, self._port, self._secret))
        if self.pid() is not None:
            self._reread()
            return
        environment = dict(os.environ) | {MARKER: str(self._paths.root), "PYTHONPATH": str(PROJECT_ROOT)}
        outcome = subprocess.run(
            [python(), "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(self._paths.supervisord_conf)],
            env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if outcome.returncode != 0:
            raise StackError(f"supervisord did not start: {(outcome.stderr or outcome.stdout).strip()}")
        deadline = time.monotonic() + 15
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise StackError(f"supervisord does not answer: see {log_path(self._paths, 'supervisord')}")
            time.sleep(0.05)

    def _reread(self) -> None:
        added, changed, removed = self._call("reloadConfig")[0]
        for name in (*removed, *changed):
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def states(self) -> dict[str, Mapping[str, Any]]:
        """supervisord's report by process name; empty where it does not run."""
        try:
            reports = self._call("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            return {}
        return {report["name"]: report for report in reports}

    def start_service(self, name: str) -> None:
        """Start `name` unless it runs; does not wait until it is healthy."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StackError(f"supervisord cannot start {name}: {fault.faultString}") from fault

    def stop_service(self, name: str) -> None:
        """Stop `name` and wait; one that does not run is fine."""
        try:
            self._call("stopProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString and "BAD_NAME" not in fault.faultString:
                raise StackError(f"supervisord cannot stop {name}: {fault.faultString}") from fault

    def shut_down(self) -> None:
        """End supervisord itself (and what it still runs); wait until its process has gone."""
        pid = self.pid()
        if pid is None:
            return
        try:
            process = psutil.Process(pid)
            for name, report in self.states().items():
                if not report["pid"]:  # supervisord's own shutdown takes half a second for each it still has
                    self._call("removeProcessGroup", name)
            self._call("shutdown")
            process.wait(timeout=60)
        except (psutil.Error, OSError, xmlrpc.client.Error, http.client.HTTPException):
            return  # gone already, or stuck: the caller ends what is left over
