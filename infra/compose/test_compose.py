"""Runs docker-compose.yml, and every line of the documents about Docker, in a real engine.

    make test-compose           the daemon's image holds target/debug/risksignal
    make test-compose FULL=1    the image compiles the daemon, for minutes

The images come from stand-ins (images.py); the engine runs in namespaces of its own (engine.py).
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import time
import unittest
from pathlib import Path

import engine
import images
from engine import Engine, until
from images import REPOSITORY

BINARY = REPOSITORY / "target" / "debug" / "risksignal"
FULL = os.environ.get("RISKSIGNAL_COMPOSE_FULL")
PASSWORD = "risksignal_dev_2026"
HEALTH = "{{.RestartCount}} {{.State.Health.Status}}"
SERVICES = ("nats", "clickhouse", "redis", "serve", "ingest")
OBSTACLE = engine.obstacle()


def lines(document: str, heading: str = "") -> list[str]:
    """Returns the lines of the document's blocks of `sh`, below the heading."""
    found = [line for block in blocks(document, "sh", heading) for line in block.splitlines()]
    assert len(found) > 5, f"{document} has no lines to run"
    return found


def blocks(document: str, language: str, heading: str = "") -> list[str]:
    """Returns the document's blocks of code in a language, below the heading."""
    text = (REPOSITORY / document).read_text()
    if heading:
        text = re.split(r"^## ", text.split(heading)[1], maxsplit=1, flags=re.M)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@unittest.skipIf(OBSTACLE, OBSTACLE)
@unittest.skipUnless(FULL or BINARY.exists(), "needs target/debug/risksignal")
class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.start = time.monotonic()
        cls.engine = Engine()
        cls.addClassCleanup(cls.engine.stop)
        cls.project = cls.engine.folder / "project"
        cls.check_out()
        cls.step("the engine runs")
        images.load(cls.engine, None if FULL else BINARY)
        cls.step("the stand-ins of the images are loaded")

    @classmethod
    def check_out(cls):
        """Copies the repository as a checkout under umask 077."""
        files = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True)
        for file in filter(None, files.split("\0")):
            with contextlib.suppress(FileNotFoundError):  # removed, and not yet committed
                target = cls.project / file
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                shutil.copyfile(REPOSITORY / file, target)
                target.chmod(0o600)

    @classmethod
    def step(cls, text: str):
        print(f"{time.monotonic() - cls.start:6.1f} s  {text}", file=sys.stderr, flush=True)

    def sh(self, script: str, **options) -> str:
        return self.engine.run(script, self.project, **options).stdout

    def sql(self, query: str) -> str:
        login = f"user=admin&password={PASSWORD}"
        return self.sh(f"curl --fail -sS 'http://127.0.0.1:8123/?{login}' -d '{query}'").strip()

    def inspect(self, service: str, what: str) -> str:
        """Returns a property of a service's first container."""
        return self.sh(f"docker inspect --format '{{{{{what}}}}}' risksignal-{service}-1").strip()

    def until_healthy(self, services: str, crashes: int = 0):
        """Waits in the namespaces, where a look costs little."""
        for service in services.split():
            state = f"docker inspect --format '{HEALTH}' risksignal-{service}-1"
            wanted = f"^[{crashes}-9] healthy$"
            self.sh(f"until {state} | grep --quiet '{wanted}'; do sleep 0.2; done")

    def is_settled(self) -> bool:
        """Reports whether the consumer has nothing left to deliver and nothing without an ack."""
        time.sleep(0.2)
        url = "http://127.0.0.1:8222/jsz?accounts=true&streams=true&consumers=true"
        (account,) = json.loads(self.sh(f"curl --fail -sS '{url}'"))["account_details"]
        (stream,) = (one for one in account["stream_detail"] if one["name"] == "SIGNALS")
        consumers = stream["consumer_detail"]
        return all(one["num_pending"] == one["num_ack_pending"] == 0 for one in consumers)

    def assert_rows(self, expected: int):
        """Once nothing is pending: each signal is a row, and none is two."""
        until(self.is_settled)
        counts = self.sql("SELECT count(), uniqExact(stream_seq) FROM risksignal.raw_signals")
        self.assertEqual(counts.split(), [str(expected)] * 2)

    def watch(self, line: str) -> str:
        """Runs a line that shows a screen until q, on a terminal, and returns the output."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        process = subprocess.Popen(
            self.engine.command(line, self.project),
            env=self.engine.environment | {"TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        with open(ours, "r+b", buffering=0) as terminal:
            shown = b""
            while b"RiskSignal Ingest" not in shown:
                self.assertTrue(select.select([terminal], [], [], engine.DEADLINE_S)[0], shown)
                shown += terminal.read(65536)
            terminal.write(b"q")
            self.assertEqual(process.wait(engine.DEADLINE_S), 0, shown)
        return shown.decode()

    def follow(self, lines: list[str]) -> dict[str, str]:
        """Runs the lines of a document, and returns the output of each."""
        outputs = {}
        for line in lines:
            outputs[line] = self.watch(line) if "risksignal top" in line else self.sh(line)
            self.step(line.partition("  #")[0].strip())
        return outputs

    def test_every_line_of_the_documents_works(self):
        self.follow(lines("README.md", "\n## Docker\n"))
        start, *rest, stop = lines("docs/docker.md")
        (settings,) = blocks("docs/docker.md", "yaml")
        (self.project / "docker-compose.override.yml").write_text(settings)
        self.follow([start])
        # The volumes outlived `down`.
        self.assert_rows(10_000)
        outputs = self.follow(rest)
        self.assert_rows(20_002)
        (wallet,) = (json.loads(output) for line, output in outputs.items() if "/v1/wallets/" in line)
        self.assertEqual(wallet["last_signals"][0]["source_id"], "web-app")
        (changed,) = (output for line, output in outputs.items() if "config show" in line)
        self.assertRegex(changed, r"\bbatch\.max_wait +100ms\b")
        (dead_letters,) = (output for line, output in outputs.items() if "dead-letters" in line)
        self.assertNotIn("signals.", dead_letters)
        # Surveyor reaches the system account.
        self.assertIn("nats_core", self.sh("curl --fail -sS 127.0.0.1:7777/metrics"))
        self.prometheus_follows_the_instances()
        self.follow([stop])
        self.assertEqual(self.sh("docker ps --all --quiet; docker volume ls --quiet"), "")

    def prometheus_follows_the_instances(self):
        for count in (3, 1):
            self.sh(f"docker compose up --detach --wait --scale ingest={count}")
            up = f'sum(up{{job="risksignal"}}) == {count} == count(up{{job="risksignal"}})'
            until(lambda: self.prometheus(up))
            self.step(f"Prometheus reaches {count}")
        # The alert waits a minute before it fires.
        self.sh("docker compose stop ingest")
        until(lambda: self.prometheus('ALERTS{alertname="RiskSignalDown"}'))
        self.step("Prometheus misses the last one")

    def prometheus(self, query: str) -> list:
        """Returns the series of a query."""
        ask = "curl --fail -sS 127.0.0.1:9090/api/v1/query --data-urlencode"
        answer = json.loads(self.sh(f"{ask} {shlex.quote(f'query={query}')}"))
        return answer["data"]["result"]

    def test_nothing_is_lost_or_twice_whatever_is_restarted_or_killed(self):
        # Taken ports stop nothing: one that is not published, and one that moves.
        for port in (6379, 4222):
            self.sh(f"busybox nc -l -s 127.0.0.1 -p {port} </dev/null >/dev/null 2>&1 &")
        (self.project / ".env").write_text("RISKSIGNAL_DOCKER_NATS_PORT=0\n")
        self.sh("docker compose up --detach --wait")
        self.assertRegex(self.sh("docker compose port nats 4222"), r"^127\.0\.0\.1:[1-9]\d+$")
        self.step("up, with two ports taken")
        self.confined()

        producer = self.publish(20_000)
        for together in ("nats", "clickhouse", "redis serve ingest"):
            self.sh(f"docker compose restart {together}")
            self.until_healthy(together)
            self.step(f"healthy after a restart: {together}")
        for together in ("redis serve ingest", "nats", "clickhouse"):
            for service in together.split():
                self.sh(f"kill -9 {self.inspect(service, '.State.Pid')}")
            self.until_healthy(together, crashes=1)
            self.step(f"healthy after a crash: {together}")
        self.finish(producer)
        self.assert_rows(20_000)
        self.step("20,000 rows")

        self.sh("docker compose up --detach --wait --scale ingest=3")
        self.step("three instances")
        producer = self.publish(5_000)
        self.sh("kill -9 $(docker inspect --format '{{.State.Pid}}' risksignal-ingest-2)")
        self.finish(producer)
        self.assert_rows(25_000)
        self.step("25,000 rows, from three instances of which one was killed")

    def publish(self, count: int) -> subprocess.Popen:
        """Begins to publish, in a container of its own, which is healthy as any other."""
        options = f"--count {count} --rate 1000 --seed {count}"
        producer = subprocess.Popen(
            self.engine.command(
                f"docker compose run --rm -T ingest produce {options}", self.project
            ),
            env=self.engine.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        state = "docker ps --filter label=com.docker.compose.oneoff=True --format '{{.Status}}'"
        self.sh(f"until {state} | grep --quiet '(healthy)'; do sleep 0.2; done")
        self.step("publishing")
        return producer

    def finish(self, producer: subprocess.Popen):
        output, _ = producer.communicate(timeout=engine.DEADLINE_S)
        self.assertEqual(producer.returncode, 0, output)
        self.step("all is published")

    def confined(self):
        """Memory has no swap, and the daemon has few rights."""
        for service in SERVICES:
            memory = self.inspect(service, ".HostConfig.Memory")
            self.assertGreater(int(memory), 0, service)
            self.assertEqual(self.inspect(service, ".HostConfig.MemorySwap"), memory, service)
        for service in ("ingest", "serve"):
            self.assertEqual(self.inspect(service, ".Config.User"), "65532:65532")
            self.assertEqual(self.inspect(service, ".HostConfig.ReadonlyRootfs"), "true")
            self.assertEqual(self.inspect(service, ".HostConfig.CapDrop"), "[ALL]")
        # The token is in the image of development alone.
        cat = "docker run --rm --entrypoint cat {} /etc/risksignal/tokens.toml"
        self.assertIn("sha256", self.sh(cat.format("risksignal-serve")))
        self.assertEqual(self.sh(cat.format("risksignal-ingest"), check=False), "")


if __name__ == "__main__":
    unittest.main()
