"""Checks of the local stack.

    infra/test local

Uses free ports and its own folder for the servers; shares fetched programs.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
from pathlib import Path

import fetch
from common import INFRA
from supervise import HOST, SERVERS
from testing import answers, free_ports, query, until


STACK = INFRA / "local" / "stack"


def exists(pid: int) -> bool:
    """Reports whether the process runs; an ended one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Up(unittest.TestCase):
    """`up`, `down` and `status`."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        variables = [port.variable for server in SERVERS.values() for port in server.ports.values()]
        self.ports = dict(zip(variables, free_ports(len(variables))))
        self.environment = {
            **os.environ,
            "RISKSIGNAL_LOCAL_STACK_DIR": folder.name,
            **{variable: str(port) for variable, port in self.ports.items()},
        }
        self.folder = Path(folder.name)
        self.addCleanup(self.stack, "down")

    def stack(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, STACK, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def up(self, *arguments: str) -> dict:
        return json.loads(self.stack("up", "--json", *arguments).stdout)

    def clickhouse(self, sql: str) -> str:
        return query(self.ports["RISKSIGNAL_LOCAL_CLICKHOUSE_HTTP_PORT"], sql)

    def test_up_and_down_do_only_what_is_left_to_do(self):
        self.stack("status", status=3)
        first = self.up()
        self.assertEqual(first["started"], ["nats", "clickhouse"])
        self.stack("status")
        self.assertEqual(self.up()["started"], [])

        self.stack("down", "nats")
        status = json.loads(self.stack("status", "--json", status=3).stdout)
        self.assertEqual([s["state"] for s in status["servers"]], ["down", "up"])
        second = self.up()
        self.assertEqual(second["started"], ["nats"])

        self.stack("down")
        self.stack("down")
        self.stack("status", status=3)
        for outcome in (first, second):
            for server in outcome["servers"]:
                self.assertFalse(exists(server["pid"]), server)

    def test_data_outlives_the_server(self):
        def pid(outcome: dict) -> int:
            return next(s["pid"] for s in outcome["servers"])

        process = pid(self.up("clickhouse"))
        self.clickhouse("CREATE TABLE risksignal.t (n UInt64) ENGINE = MergeTree ORDER BY n")
        self.clickhouse("INSERT INTO risksignal.t SELECT number FROM numbers(1000)")
        os.kill(process, signal.SIGKILL)
        until(lambda: not exists(process))

        self.assertEqual(self.up("clickhouse")["started"], ["clickhouse"])
        self.assertEqual(self.clickhouse("SELECT count() FROM risksignal.t"), "1000")
        self.clickhouse("INSERT INTO risksignal.t SELECT number FROM numbers(10)")
        self.stack("down")

        self.up("clickhouse")
        self.assertEqual(self.clickhouse("SELECT count() FROM risksignal.t"), "1010")
        self.stack("down", "--wipe")
        self.up("clickhouse")
        self.assertEqual(self.clickhouse("EXISTS TABLE risksignal.t"), "0")

    def test_a_taken_port_is_told_with_its_variable(self):
        for variable, port in self.ports.items():
            with self.subTest(variable), socket.create_server((HOST, port)):
                told = self.stack("up", status=1).stderr
                self.assertIn(variable, told)
                self.assertIn(str(port), told)
                self.stack("status", status=3)

    def test_a_server_that_does_not_start_tells_its_log_and_leaves_nothing(self):
        (self.folder / "nats").mkdir()
        (self.folder / "nats" / "jetstream").write_text("not a folder")
        told = self.stack("up", status=1).stderr
        self.assertIn("nats has ended", told)
        self.assertIn(str(self.folder / "nats.log"), told)
        status = json.loads(self.stack("status", "--json", status=3).stdout)
        self.assertEqual([s["state"] for s in status["servers"]], ["down", "down"])

    def test_a_recycled_pid_is_not_stopped(self):
        with subprocess.Popen(["sleep", "60"]) as other:
            self.addCleanup(other.kill)
            process = {"pid": other.pid, "start_time": 1, "ports": {}}
            (self.folder / "nats.pid.json").write_text(json.dumps(process))
            self.stack("down")
            self.assertIsNone(other.poll())
            other.kill()

    def test_several_at_once_start_each_server_once(self):
        command = [sys.executable, STACK, "up", "--json"]
        ups = [
            subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        outcomes = [json.loads(up.communicate(timeout=120)[0]) for up in ups]
        self.assertEqual(sum(len(outcome["started"]) for outcome in outcomes), 2)


class Serve(unittest.TestCase):
    """`serve`, as the integration tests use it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = Path(folder.name) / "data"
        self.port, self.http_port = free_ports(2)

    def command(self, server: str, *options: str) -> list:
        return [sys.executable, STACK, "serve", server, "--data", self.data, *options]

    def start(self, command: list) -> subprocess.Popen:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end():
            process.kill()
            process.wait()

        self.addCleanup(end)
        return process

    def connects(self, port: int) -> bool:
        with socket.socket() as client:
            return client.connect_ex((HOST, port)) == 0

    def request(self, subject: str, payload: str = "") -> dict:
        """Returns nats-server's answer to a request by a client without credentials."""
        with socket.create_connection((HOST, self.port), timeout=5) as client:
            client.sendall(
                f"CONNECT {{}}\r\nSUB inbox 1\r\n"
                f"PUB {subject} inbox {len(payload)}\r\n{payload}\r\n".encode()
            )
            for line in client.makefile():
                if line.startswith("{"):
                    return json.loads(line)

    def test_nats_has_jetstream_for_clients_without_credentials(self):
        self.start(self.command("nats", "--port", str(self.port), "--max-payload", "8MB"))
        until(lambda: self.connects(self.port))
        with socket.create_connection((HOST, self.port)) as client:
            info = json.loads(client.makefile().readline().removeprefix("INFO "))
        self.assertEqual(info["max_payload"], 8 << 20)

        stream = json.dumps({"name": "S", "subjects": ["s.>"]})
        self.request("$JS.API.STREAM.CREATE.S", stream)
        self.assertEqual(self.request("$JS.API.STREAM.NAMES")["streams"], ["S"])
        self.assertEqual(self.request("s.a", "x")["seq"], 1)

    def test_clickhouse_answers_only_its_users(self):
        self.start(self.command("clickhouse", "--http-port", str(self.http_port)))
        until(lambda: answers(self.http_port))
        self.assertIn("risksignal", query(self.http_port, "SHOW DATABASES").split())
        for user, password in (("admin", "wrong"), ("default", "wrong")):
            with self.subTest(user), self.assertRaises(urllib.error.HTTPError) as refused:
                query(self.http_port, "SELECT 1", user, password)
            self.assertIn(refused.exception.code, (401, 403))
            refused.exception.close()
        with self.assertRaises(urllib.error.HTTPError) as refused:
            query(self.http_port, "CREATE TABLE risksignal.t (n Int8) ENGINE = Log", "default", "")
        self.assertIn("ACCESS_DENIED", refused.exception.read().decode())
        refused.exception.close()
        query(self.http_port, "CREATE TABLE risksignal.t (n Int8) ENGINE = MergeTree ORDER BY n")
        sizes = "SELECT table FROM system.tables WHERE database != 'system'"
        self.assertEqual(query(self.http_port, sizes, "monitor"), "t")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            query(self.http_port, "SELECT n FROM risksignal.t", "monitor")
        self.assertIn("ACCESS_DENIED", refused.exception.read().decode())
        refused.exception.close()

    def test_clickhouse_listens_on_loopback_only(self):
        command = self.command("clickhouse", "--http-port", str(self.http_port))
        process = self.start([*command, "--port", str(self.port)])
        until(lambda: answers(self.http_port) and self.connects(self.port))
        sockets = set()
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                sockets.add(os.readlink(descriptor))
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = {
            fields[1].split(":")[0]
            for fields in map(str.split, tables.splitlines())
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets
        }
        self.assertEqual(listening, {"0100007F"})

    def test_a_server_dies_with_its_parent(self):
        command = self.command(
            "clickhouse", "--http-port", str(self.http_port), "--die-with-parent"
        )
        starter = (
            "import subprocess, sys, time; child = subprocess.Popen(sys.argv[1:]);"
            " print(child.pid, flush=True); time.sleep(60)"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", starter, *command], stdout=subprocess.PIPE, text=True
        )
        server = int(parent.stdout.readline())
        until(lambda: answers(self.http_port))
        parent.kill()
        parent.communicate()
        until(lambda: not exists(server), 5)


class Fetch(unittest.TestCase):
    """Conversion of apt's sources to those of another release."""

    def test_deb822(self):
        installed = (
            "Types: deb deb-src\n# a comment\nURIs: http://mirror.test/debian\n"
            "Suites: bookworm bookworm-updates\nComponents: main contrib\n"
            "Signed-By:\n -----BEGIN-----\n .\n key\n\n"
            "Types: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\n"
            "Components: main\n\n"
            "Enabled: no\nTypes: deb\nURIs: http://off.test\nSuites: bookworm\nComponents: main\n"
        )
        self.assertEqual(
            fetch._deb822_sources(installed, "bookworm", "sid"),
            "types: deb\nuris: http://mirror.test/debian\nsuites: sid\ncomponents: main\n"
            "signed-by: \n -----BEGIN-----\n .\n key\n",
        )

    def test_one_line(self):
        installed = (
            "# deb http://off.test/debian bookworm main\n"
            "deb [signed-by=/k.gpg arch=amd64] http://mirror.test/debian bookworm main contrib\n"
            "deb-src http://mirror.test/debian bookworm main\n"
            "deb http://mirror.test/debian bookworm-updates main\n"
        )
        self.assertEqual(
            fetch._one_line_sources(installed, "bookworm", "sid"),
            "deb [signed-by=/k.gpg arch=amd64] http://mirror.test/debian sid main\n",
        )


if __name__ == "__main__":
    unittest.main()
