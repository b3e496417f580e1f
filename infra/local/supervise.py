"""Starts, watches and stops the developer's servers, each a `stack serve` of its own."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fetch
from common import StackError, locked, stack_dir
from serve import HOST

START_TIMEOUT = 60
STOP_TIMEOUT = 15
CLICKHOUSE_USER = "admin"
CLICKHOUSE_PASSWORD = "risksignal_dev_2026"


@dataclass(frozen=True)
class Port:
    variable: str
    default: int

    def number(self) -> int:
        text = os.environ.get(self.variable) or str(self.default)
        if not (text.isdecimal() and 0 < int(text) < 65536):
            raise StackError(f"{self.variable} must be a port, 1 to 65535, and is {text!r}")
        return int(text)


@dataclass(frozen=True)
class Server:
    name: str
    address: str
    """Returns its clients' URL, with the ports by their names below."""
    ports: dict[str, Port]
    find: Callable[[], object]
    version: Callable[[dict[str, int]], str]
    """Returns the version of a server on these ports; fails when it is not ready."""

    @property
    def data(self) -> Path:
        return stack_dir() / self.name

    @property
    def log(self) -> Path:
        return stack_dir() / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return stack_dir() / f"{self.name}.pid.json"


def _nats_version(ports: dict[str, int]) -> str:
    with socket.create_connection((HOST, ports["port"]), timeout=2) as client:
        greeting = client.makefile().readline()
    info = json.loads(greeting.removeprefix("INFO "))
    if not info.get("jetstream"):
        raise ValueError("JetStream is off")
    _get(ports["http_port"], "/healthz")
    return info["version"]


def _clickhouse_version(ports: dict[str, int]) -> str:
    login = base64.b64encode(f"{CLICKHOUSE_USER}:{CLICKHOUSE_PASSWORD}".encode()).decode()
    answer = _get(
        ports["http_port"], "/?query=SELECT%20version()", {"Authorization": f"Basic {login}"}
    )
    return answer.strip()


def _get(port: int, path: str, headers: dict[str, str] | None = None) -> str:
    # A proxy in the environment must not see traffic to loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers=headers or {})
    with opener.open(request, timeout=5) as response:
        return response.read().decode()


SERVERS = {
    server.name: server
    for server in (
        Server(
            name="nats",
            address=f"nats://{HOST}:{{port}}",
            ports={
                "port": Port("RISKSIGNAL_LOCAL_NATS_PORT", 4222),
                "http_port": Port("RISKSIGNAL_LOCAL_NATS_HTTP_PORT", 8222),
            },
            find=fetch.nats_server,
            version=_nats_version,
        ),
        Server(
            name="clickhouse",
            address=f"http://{HOST}:{{http_port}}",
            ports={
                "port": Port("RISKSIGNAL_LOCAL_CLICKHOUSE_TCP_PORT", 9000),
                "http_port": Port("RISKSIGNAL_LOCAL_CLICKHOUSE_HTTP_PORT", 8123),
            },
            find=fetch.clickhouse,
            version=_clickhouse_version,
        ),
    )
}


@dataclass(frozen=True)
class Process:
    """A server's process, read from its pid file."""

    pid: int
    start_time: int
    ports: dict[str, int]

    def runs(self) -> bool:
        """Reports whether it still runs; another process of the same pid has another start time."""
        return _start_time(self.pid) == self.start_time


def _start_time(pid: int) -> int | None:
    """Returns the process's start time, in ticks since boot; none if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name in brackets, may hold anything.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _running(server: Server) -> Process | None:
    try:
        process = Process(**json.loads(server.pid_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return process if process.runs() else None


def _version_or_none(server: Server, process: Process) -> str | None:
    try:
        return server.version(process.ports)
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _report(server: Server, process: Process | None, version: str | None) -> dict:
    if process is None:
        return {"name": server.name, "state": "down"}
    return {
        "name": server.name,
        "state": "up" if version else "unresponsive",
        "version": version,
        "address": server.address.format(**process.ports),
        **process.ports,
        "pid": process.pid,
        "log": str(server.log),
    }


def status(names: list[str]) -> list[dict]:
    """Returns one report for each server."""
    reports = []
    for server in map(SERVERS.get, names):
        process = _running(server)
        version = process and _version_or_none(server, process)
        reports.append(_report(server, process, version))
    return reports


def up(names: list[str]) -> dict:
    """Starts the servers that do not run and waits until all answer; when one does not, stops
    those that this call started."""
    servers = [SERVERS[name] for name in names]
    with locked(stack_dir() / "lock"):
        missing = [server for server in servers if not _running(server)]
        for server in missing:
            _check_ports(server)
            server.find()
        started = []
        try:
            for server in missing:
                _start(server)
                started.append(server)
            reports = [_wait_until_up(server) for server in servers]
        except BaseException:
            for server in started:
                _stop(server)
            raise
    return {"started": [server.name for server in started], "servers": reports}


def _check_ports(server: Server) -> None:
    for port in server.ports.values():
        with socket.socket() as probe:
            # Like the servers: lingering closed connections are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port.number()))
            except OSError as error:
                raise StackError(
                    f"{server.name} cannot have port {port.number()} ({error.strerror}); "
                    f"stop what uses it, or set {port.variable} to another port"
                ) from None


def _start(server: Server) -> None:
    ports = {name: port.number() for name, port in server.ports.items()}
    command = [sys.executable, Path(__file__).with_name("stack"), "serve", server.name]
    command += ["--data", server.data]
    for name, number in ports.items():
        command += [f"--{name.replace('_', '-')}", str(number)]
    with open(server.log, "wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=stack_dir(),
            start_new_session=True,
        )
    process = {"pid": child.pid, "start_time": _start_time(child.pid), "ports": ports}
    server.pid_file.write_text(json.dumps(process))


def _wait_until_up(server: Server) -> dict:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        process = _running(server)
        if process is None:
            raise StackError(f"{server.name} has ended{_log_tail(server)}")
        if version := _version_or_none(server, process):
            return _report(server, process, version)
        time.sleep(0.02)
    raise StackError(
        f"{server.name} (pid {process.pid}) does not answer within {START_TIMEOUT} s; "
        f"try `stack down {server.name}`{_log_tail(server)}"
    )


def _log_tail(server: Server) -> str:
    lines = server.log.read_text(errors="replace").splitlines()[-15:]
    return f"; the end of {server.log}:\n  " + "\n  ".join(lines)


def down(names: list[str], wipe: bool) -> list[str]:
    """Stops the servers, removes their data on request, and returns those that had run."""
    with locked(stack_dir() / "lock"):
        stopped = []
        for server in map(SERVERS.get, names):
            if _stop(server):
                stopped.append(server.name)
            if wipe:
                shutil.rmtree(server.data, ignore_errors=True)
                server.log.unlink(missing_ok=True)
        return stopped


def _stop(server: Server) -> bool:
    process = _running(server)
    if process:
        for stop_signal in (signal.SIGTERM, signal.SIGKILL):
            if _end(process, stop_signal):
                break
        else:
            raise StackError(f"{server.name} (pid {process.pid}) does not end, even by SIGKILL")
    server.pid_file.unlink(missing_ok=True)
    return process is not None


def _end(process: Process, stop_signal: signal.Signals) -> bool:
    """Sends the signal and reports whether the process ended in time."""
    try:
        os.kill(process.pid, stop_signal)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + STOP_TIMEOUT
    while process.runs():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
