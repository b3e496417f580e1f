"""Checks of the programs that `make bench` compares the daemon with.

    infra/test peers

No registry has Vector, so a stand-in on the PATH notes how it is run; what its sink would send is
sent here.
"""

import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY / "infra" / "local"))

from supervise import CLICKHOUSE_PASSWORD, CLICKHOUSE_USER, HOST, SERVERS
from testing import free_ports, query

STACK = REPOSITORY / "infra" / "local" / "stack"
BINARY = REPOSITORY / "target" / "debug" / "risksignal"
STAND_IN = '#!/bin/sh\nenv > "$OUTPUT"\necho "arguments=$*" >> "$OUTPUT"\n'


def peer():
    """Returns the script as a module."""
    loader = importlib.machinery.SourceFileLoader("peer", str(HERE / "vector"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("peer", loader))
    loader.exec_module(module)
    return module


class Vector(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        variables = [port.variable for server in SERVERS.values() for port in server.ports.values()]
        self.ports = dict(zip(variables, free_ports(len(variables))))
        self.stack_environment = {
            **os.environ,
            "RISKSIGNAL_LOCAL_STACK_DIR": str(self.folder / "stack"),
            **{variable: str(port) for variable, port in self.ports.items()},
        }
        self.addCleanup(self.stack, "down")
        self.stack("up", "nats", "clickhouse")
        self.clickhouse = self.ports["RISKSIGNAL_LOCAL_CLICKHOUSE_HTTP_PORT"]
        self.environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "OUTPUT": str(self.folder / "output"),
            "NATS_URL": f"nats://{HOST}:{self.ports['RISKSIGNAL_LOCAL_NATS_PORT']}",
            "RISKSIGNAL__STREAM__NAME": "SIGNALS",
            "RISKSIGNAL__CONSUMER__NAME": "peer",
            "CLICKHOUSE_URL": f"http://{HOST}:{self.clickhouse}",
            "CLICKHOUSE_USER": CLICKHOUSE_USER,
            "CLICKHOUSE_PASSWORD": CLICKHOUSE_PASSWORD,
            "CLICKHOUSE_DATABASE": "risksignal",
            "RISKSIGNAL__CLICKHOUSE__TABLE": "raw_signals",
        }

    def stack(self, *arguments: str):
        done = subprocess.run(
            [sys.executable, STACK, *arguments],
            env=self.stack_environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def run_peer(self) -> subprocess.CompletedProcess:
        stand_in = self.folder / "vector"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        return subprocess.run(
            [sys.executable, HERE / "vector"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_it_creates_the_consumer_and_becomes_vector(self):
        url, module = self.environment["NATS_URL"], peer()
        refused = self.run_peer()
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("stream not found", refused.stderr)
        stream = {"name": "SIGNALS", "subjects": ["signals.>"]}
        self.assertNotIn("error", module.request(url, "$JS.API.STREAM.CREATE.SIGNALS", stream))
        done = self.run_peer()
        self.assertEqual(done.returncode, 0, done.stderr)
        info = module.request(url, "$JS.API.CONSUMER.INFO.SIGNALS.peer", {})
        self.assertEqual(info["config"]["max_ack_pending"], module.MAX_ACK_PENDING)
        self.assertEqual(info["config"]["ack_policy"], "explicit")
        output = (self.folder / "output").read_text()
        self.assertIn(f"arguments=--quiet --config-toml {module.CONFIGURATION}\n", output)
        for variable in re.findall(r"\$\{(\w+)\}", module.CONFIGURATION.read_text()):
            self.assertIn(f"{variable}={self.environment[variable]}\n", output)

    def test_what_its_sink_sends_is_a_row(self):
        sink = tomllib.loads((HERE / "vector.toml").read_text())["sinks"]["table"]
        self.assertTrue(sink["skip_unknown_fields"] and sink["date_time_best_effort"])
        migrated = subprocess.run(
            [BINARY, "migrate"], env=self.environment, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(migrated.returncode, 0, migrated.stderr)
        row = json.loads((REPOSITORY / "infra" / "examples" / "signal.json").read_text())
        row["payload"] = json.dumps(row["payload"])
        row["subject"] = "signals.transaction"
        query(
            self.clickhouse,
            "INSERT INTO risksignal.raw_signals SETTINGS date_time_input_format = 'best_effort', "
            "input_format_skip_unknown_fields = 1 FORMAT JSONEachRow " + json.dumps(row),
        )
        sql = "SELECT toString(trace_id), payload FROM risksignal.raw_signals FORMAT JSONEachRow"
        found = json.loads(query(self.clickhouse, sql))
        self.assertEqual(found["toString(trace_id)"], row["trace_id"])
        self.assertEqual(found["payload"], row["payload"])


if __name__ == "__main__":
    unittest.main()
