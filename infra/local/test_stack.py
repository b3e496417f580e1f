"""Checks of the local stack and of what it shares with docker-compose.yml.

    python3 -m unittest discover infra/local

Uses free ports and a folder of its own for the servers; what was fetched is shared.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
import urllib.error
from pathlib import Path

import fetch
import serve
from common import INFRA, REPOSITORY
from supervise import CLICKHOUSE_PASSWORD, CLICKHOUSE_USER, HOST, SERVERS
from testing import answers, free_ports, query, until

try:
    import yaml
except ImportError:
    yaml = None

STACK = INFRA / "local" / "stack"


def exists(pid: int) -> bool:
    """Whether the process runs; an ended one that nobody has waited for does not."""
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
        """What nats-server answers to a request by a client without credentials."""
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
    """How apt's sources become those of another release."""

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


@unittest.skipUnless(yaml, "needs PyYAML (Debian's python3-yaml)")
class Compose(unittest.TestCase):
    """docker-compose.yml, as far as it can be checked without Docker."""

    @classmethod
    def setUpClass(cls):
        cls.compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
        cls.services = cls.compose["services"]

    def mounts(self, service: str) -> dict[str, str]:
        return dict(mount.split(":")[:2] for mount in self.services[service].get("volumes", []))

    def test_what_it_mounts_exists(self):
        for name in self.services:
            for source in self.mounts(name):
                if source.startswith("."):
                    self.assertTrue((REPOSITORY / source).is_file(), source)
                else:
                    self.assertIn(source, self.compose["volumes"])
        self.assertTrue((REPOSITORY / self.services["ingest"]["build"]["dockerfile"]).is_file())

    def test_it_shares_its_configuration_with_the_local_stack(self):
        def mounted(service: str) -> set[Path]:
            return {(REPOSITORY / source).resolve() for source in self.mounts(service)}

        self.assertIn(serve.NATS_CONFIG, mounted("nats"))
        self.assertIn(serve.CLICKHOUSE_USERS, mounted("clickhouse"))
        for file in serve.CLICKHOUSE_CONFIG_DIR.iterdir():
            self.assertIn(file, mounted("clickhouse"))
            self.assertNotIn("<logger>", re.sub(r"<!--.*?-->", "", file.read_text(), flags=re.S))

    def test_the_daemon_logs_in_as_the_local_stack_does(self):
        environment = self.services["ingest"]["environment"]
        self.assertEqual(environment["CLICKHOUSE_USER"], CLICKHOUSE_USER)
        self.assertEqual(environment["CLICKHOUSE_PASSWORD"], CLICKHOUSE_PASSWORD)
        (query,) = serve.startup_queries()
        self.assertTrue(query.endswith(f" {environment['CLICKHOUSE_DATABASE']}"), query)

    def test_redis_is_a_cache_that_the_daemon_does_not_wait_for(self):
        redis, ingest = self.services["redis"], self.services["ingest"]
        (program, *words) = redis["command"]
        self.assertEqual(program, "redis-server")
        options = dict(zip(words[::2], words[1::2], strict=True))
        password = ingest["environment"]["RISKSIGNAL__CACHE__PASSWORD"]
        memory = int(options.pop("--maxmemory").removesuffix("mb"))
        self.assertLessEqual(memory, 0.8 * int(redis["mem_limit"].removesuffix("m")))
        expected = {
            "--save": "",
            "--appendonly": "no",
            "--requirepass": password,
            "--maxmemory-policy": "volatile-lru",
        }
        self.assertEqual(options, expected)
        self.assertNotIn("volumes", redis)
        self.assertEqual(redis["environment"], {"REDISCLI_AUTH": password})
        self.assertEqual(ingest["environment"]["REDIS_URL"], "redis://redis:6379")
        waits = {"condition": "service_started", "required": False}
        self.assertEqual(ingest["depends_on"]["redis"], waits)

    def test_ports_are_published_on_loopback(self):
        """The servers there have development passwords or none."""
        for name, service in self.services.items():
            self.assertNotIn("network_mode", service, name)
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")

    def test_images_are_pinned(self):
        images = [s["image"] for s in self.services.values() if "image" in s]
        dockerfile = (INFRA / "docker" / "Dockerfile").read_text()
        images += re.findall(r"^FROM (\S+)", dockerfile, re.M)
        for image in images:
            # Debian's point releases have two numbers.
            self.assertRegex(image, r":v?\d+\.\d+(\.\d+)*(-[a-z]+)*$")

    def test_every_service_restarts_and_rotates_its_log(self):
        for name, service in self.services.items():
            self.assertEqual(service["restart"], "unless-stopped", name)
            self.assertIn("max-size", service["logging"]["options"], name)

    def test_every_service_has_limits(self):
        for name, service in self.services.items():
            self.assertRegex(service["mem_limit"], r"^\d+[mg]$", name)
            self.assertLess(service["pids_limit"], 10_000, name)

    def test_the_daemon_is_confined_and_watched(self):
        ingest = self.services["ingest"]
        self.assertTrue(ingest["read_only"])
        self.assertEqual(ingest["cap_drop"], ["ALL"])
        self.assertIn("no-new-privileges:true", ingest["security_opt"])
        check = ingest["healthcheck"]["test"]
        dockerfile = (INFRA / "docker" / "Dockerfile").read_text()
        self.assertIn(f"CMD {json.dumps(check[1:])}", dockerfile)
        self.assertRegex(dockerfile, rf"apt-get install .*\s{check[1]}\s")
        port = ingest["environment"]["RISKSIGNAL__OPS__LISTEN"].rpartition(":")[2]
        self.assertEqual(check[-1], f"http://127.0.0.1:{port}/readyz")

    def test_prometheus_alone_reaches_the_daemon(self):
        ingest = self.services["ingest"]
        self.assertNotIn("ports", ingest)
        config = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())
        daemon, clickhouse = config["scrape_configs"]
        port = ingest["environment"]["RISKSIGNAL__OPS__LISTEN"].rpartition(":")[2]
        self.assertEqual(daemon["static_configs"], [{"targets": [f"ingest:{port}"]}])
        token = ingest["environment"]["RISKSIGNAL__OPS__TOKEN"]
        self.assertEqual(daemon["authorization"]["credentials"], token)
        self.assertEqual(clickhouse["static_configs"], [{"targets": ["clickhouse:8123"]}])
        for name in ("prometheus", "grafana"):
            self.assertEqual(self.services[name]["profiles"], ["monitoring"])

    def test_the_runbook_has_every_alert(self):
        rules = (INFRA / "prometheus" / "rules.yml").read_text()
        alerts = re.findall(r"- alert: (\w+)", rules)
        runbook = (REPOSITORY / "docs" / "runbook.md").read_text()
        self.assertGreater(len(alerts), 5)
        self.assertEqual(alerts, re.findall(r"^### (\w+)$", runbook, re.MULTILINE))

    def test_grafana_finds_its_data_source_and_its_dashboards(self):
        grafana = {path: file for file, path in self.mounts("grafana").items()}
        provisioned = "/etc/grafana/provisioning"
        source = grafana[f"{provisioned}/datasources/risksignal.yml"]
        (source,) = yaml.safe_load((REPOSITORY / source).read_text())["datasources"]
        self.assertEqual(source["url"], "http://prometheus:9090")
        provider = grafana[f"{provisioned}/dashboards/risksignal.yml"]
        (provider,) = yaml.safe_load((REPOSITORY / provider).read_text())["providers"]
        folder = provider["options"]["path"]
        found = {path for path in grafana if path.startswith(f"{folder}/")}
        shipped = {f"{folder}/{file.name}" for file in (INFRA / "grafana/dashboards").iterdir()}
        self.assertEqual(found, shipped)

    def test_a_stop_has_more_time_than_the_daemon_takes(self):
        example = (REPOSITORY / "risksignal.example.toml").read_text()
        (grace,) = re.findall(r'^#grace = "(\d+)s"$', example, re.M)
        (stop,) = re.fullmatch(r"(\d+)s", self.services["ingest"]["stop_grace_period"]).groups()
        self.assertGreater(int(stop), int(grace))

    def test_the_image_is_built_from_all_that_cargo_reads(self):
        manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
        kept = (INFRA / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        # A target that the manifest names must be there, or cargo does not build the others.
        for kind, folder in (("test", "tests"), ("bench", "benches"), ("example", "examples")):
            if kind in manifest:
                self.assertIn(f"!{folder}", kept)
        self.assertNotIn("build", manifest["package"])


if __name__ == "__main__":
    unittest.main()
