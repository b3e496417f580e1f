"""Helpers for the tests of several folders."""

import contextlib
import random
import socket
import time
import urllib.request

from supervise import CLICKHOUSE_PASSWORD, CLICKHOUSE_USER, HOST

# Limit of a wait for an event that does not happen. No test depends on this time.
DEADLINE_S = 120


def free_ports(count: int) -> list[int]:
    """Returns free ports below those of outgoing connections: one of those could take a
    port while its server restarts."""
    held = []
    while len(held) < count:
        with contextlib.suppress(OSError):
            held.append(socket.create_server((HOST, random.randrange(15_000, 32_000))))
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def query(http_port: int, sql: str, user=CLICKHOUSE_USER, password=CLICKHOUSE_PASSWORD) -> str:
    request = urllib.request.Request(
        f"http://{HOST}:{http_port}/",
        data=sql.encode(),
        headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode().strip()


def until(condition, seconds: float = DEADLINE_S):
    """Waits until `condition` returns a value, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s")
        time.sleep(0.02)
    return found


def until_up(is_up, stop) -> None:
    """Waits until a process that was started is up; stops one that does not come up."""
    try:
        until(is_up)
    except BaseException:
        stop()
        raise


def answers(http_port: int) -> bool:
    try:
        return query(http_port, "SELECT 1") == "1"
    except OSError:
        return False
