"""Installs the Debian package on a machine booted by a real systemd, and runs the service
there against a real NATS and ClickHouse.

    infra/test debian
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from machine import Machine, can_boot
from package import BINARY, INSTALL, REPOSITORY, build

sys.path.insert(0, str(REPOSITORY / "infra" / "local"))

from supervise import CLICKHOUSE_PASSWORD, CLICKHOUSE_USER, HOST  # noqa: E402
from testing import answers, free_ports, query, until  # noqa: E402

STACK = REPOSITORY / "infra" / "local" / "stack"
UNIT = "risksignal-ingest.service"
DROP_INS = f"/run/systemd/system/{UNIT}.d"
PASSWORD_FILE = "/etc/risksignal/credentials/clickhouse/password"
# A step of a stage may take 1.5 + 1 + 8 * 0.3 s with these.
SETTINGS = f"""
[nats]
url = "nats://{HOST}:{{nats}}"
request_timeout = "300ms"
[clickhouse]
url = "http://{HOST}:{{clickhouse}}"
user = "{CLICKHOUSE_USER}"
retry_max = "1s"
send_timeout = "500ms"
end_timeout = "1s"
[ops]
listen = "{HOST}:{{ops}}"
"""
WATCHDOG = "[Service]\nWatchdogSec=5s\n"


@unittest.skipUnless(shutil.which("cargo-deb"), "needs cargo-deb")
@unittest.skipUnless(BINARY.exists(), "needs target/debug/risksignal")
@unittest.skipUnless(can_boot(), "not permitted: systemd in namespaces of its own")
class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        top = Path(folder.name)
        nats, cls.clickhouse, ops = free_ports(3)
        cls.serve(top, "nats", "--port", nats)
        cls.serve(top, "clickhouse", "--http-port", cls.clickhouse)
        (top / "packages").mkdir()
        build(top / "packages")
        cls.machine = Machine(top / "packages")
        cls.addClassCleanup(cls.machine.stop)
        cls.machine.run(INSTALL)
        cls.settings = SETTINGS.format(nats=nats, clickhouse=cls.clickhouse, ops=ops)
        until(lambda: answers(cls.clickhouse))

    @classmethod
    def serve(cls, top: Path, server: str, *options):
        command = [sys.executable, STACK, "serve", server, "--data", top / server]
        process = subprocess.Popen(
            [*command, *map(str, options), "--die-with-parent"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.kill)

    def setUp(self):
        self.addCleanup(self.forget)
        self.write("/etc/risksignal/risksignal.toml", self.settings)
        self.write(PASSWORD_FILE, f"{CLICKHOUSE_PASSWORD}\n")
        # Only faults that a test itself has caused.
        self.since = self.machine.run("journalctl --sync; date +%s.%N").strip()

    def forget(self):
        self.machine.run(
            f"systemctl stop {UNIT} || true; rm -rf {DROP_INS}; systemctl daemon-reload\n"
            f"systemctl reset-failed {UNIT} || true"
        )

    def write(self, path: str, text: str):
        folder = path.rpartition("/")[0]
        self.machine.run(f"mkdir -p {folder}; printf %s {shlex.quote(text)} > {path}")

    def drop_in(self, name: str, text: str):
        self.write(f"{DROP_INS}/{name}.conf", text)
        self.machine.run("systemctl daemon-reload")

    def start(self):
        """With a unit of the type notify that ends once the daemon is ready."""
        started = self.machine.try_to(f"systemctl start {UNIT}")
        self.assertEqual(started.returncode, 0, [entry["MESSAGE"] for entry in self.journal()])
        self.assertEqual(self.told("ActiveState"), "active")

    def told(self, name: str) -> str:
        """Returns a property of the unit."""
        return self.machine.run(f"systemctl show --value --property={name} {UNIT}").strip()

    def journal(self) -> list[dict]:
        """Returns the unit's journal: lines of the daemon, and of systemd about it."""
        text = self.machine.run(
            f"journalctl --sync; journalctl --unit={UNIT} --since=@{self.since} --output=json"
        )
        return [json.loads(line) for line in text.splitlines()]

    def lines(self) -> list[dict]:
        """Returns the daemon's log lines."""
        return [
            json.loads(entry["MESSAGE"])
            for entry in self.journal()
            if entry.get("SYSLOG_IDENTIFIER") == "risksignal"
        ]

    def by_systemd(self) -> str:
        entries = self.journal()
        return "\n".join(e["MESSAGE"] for e in entries if e.get("SYSLOG_IDENTIFIER") == "systemd")

    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines()]

    def publish(self, count: int, seed: int):
        self.machine.run(
            f"cd /etc/risksignal; risksignal produce --count={count} --seed={seed} 2>&1"
        )

    def rows(self) -> list[int]:
        """Returns the number of rows, and of distinct signals."""
        sql = "SELECT count(), uniqExact(trace_id) FROM risksignal.raw_signals FORMAT TSV"
        return [int(number) for number in query(self.clickhouse, sql).split()]

    def landed(self, count: int):
        """Waits for this many rows, each of another signal."""
        until(lambda: self.rows()[0] >= count)
        self.assertEqual(self.rows(), [count, count])

    def test_it_is_active_once_it_pulls_and_stops_with_all_committed(self):
        self.start()
        self.assertEqual(self.told("StatusText"), "Moving signals")
        before = self.rows()[0]
        self.publish(5000, seed=1)
        self.machine.run(f"systemctl stop {UNIT}")
        self.assertEqual(self.told("ActiveState"), "inactive")
        self.assertEqual(self.told("Result"), "success")
        self.assertEqual(self.told("ExecMainStatus"), "0")
        stopped = "Stopped; all held messages are committed and acked"
        (line,) = [line for line in self.lines() if line["message"] == stopped]
        self.assertEqual(self.rows(), [before + line["inserted"]] * 2)
        self.start()
        self.landed(before + 5000)

    def test_the_journal_has_its_lines_as_they_are(self):
        self.start()
        entries = [e for e in self.journal() if e.get("SYSLOG_IDENTIFIER") == "risksignal"]
        self.assertIn("Starting signals consumer", self.messages())
        for entry in entries:
            self.assertEqual(entry["_SYSTEMD_UNIT"], UNIT)
            line = json.loads(entry["MESSAGE"])
            self.assertLessEqual({"timestamp", "level", "message"}, line.keys())

    def test_only_the_daemon_has_the_credential(self):
        self.start()
        pid = self.told("MainPID")
        environment = self.machine.run(f"tr '\\0' '\\n' < /proc/{pid}/environ")
        folder = re.search(r"^CREDENTIALS_DIRECTORY=(.+)$", environment, re.M)[1]
        self.assertNotIn(CLICKHOUSE_PASSWORD, environment)
        shown = self.machine.run(f"stat --format=%U {PASSWORD_FILE}; cat {folder}/*password")
        self.assertEqual(shown.split(), ["root", CLICKHOUSE_PASSWORD])
        for path in (PASSWORD_FILE, f"{folder}/clickhouse_password"):
            told = self.machine.try_to(
                f"setpriv --reuid=nobody --regid=nogroup --clear-groups cat {path}"
            )
            self.assertIn("Permission denied", told.stderr)

    def test_it_says_what_it_waits_for_and_goes_on_with_the_right_credential(self):
        self.write(PASSWORD_FILE, "hunter2\n")
        self.machine.run(f"systemctl start --no-block {UNIT}")
        status = until(lambda: self.told("StatusText"))
        self.assertIn("Waiting for ClickHouse", status)
        self.assertIn("check clickhouse.user and clickhouse.password", status)
        self.assertEqual(self.told("ActiveState"), "activating")
        self.write(PASSWORD_FILE, CLICKHOUSE_PASSWORD)
        self.machine.run(f"systemctl restart {UNIT}")
        self.assertEqual(self.told("ActiveState"), "active")
        self.assertNotIn("hunter2", json.dumps(self.journal()))

    def test_a_pipeline_that_hangs_is_restarted_and_loses_nothing(self):
        """Removes the fault from the unit before the next start."""
        self.drop_in("watchdog", WATCHDOG)
        fault = "run --fault-point hang@insert-answered"
        self.drop_in("fault", f"[Service]\nExecStart=\nExecStart=/usr/bin/risksignal {fault}\n")
        self.start()
        before = self.rows()[0]
        self.machine.run(f"rm {DROP_INS}/fault.conf; systemctl daemon-reload")
        self.publish(500, seed=2)
        self.assert_restarted_by_the_watchdog()
        hangs = "The pipeline hangs; the service manager gets no more heartbeats"
        self.assertIn(hangs, self.messages())
        self.landed(before + 500)

    def test_a_process_that_stands_still_is_restarted(self):
        self.drop_in("watchdog", WATCHDOG)
        self.start()
        before = self.rows()[0]
        self.machine.run(f"kill -STOP {self.told('MainPID')}")
        self.publish(500, seed=3)
        self.assert_restarted_by_the_watchdog()
        self.landed(before + 500)

    def assert_restarted_by_the_watchdog(self):
        until(lambda: self.told("NRestarts") == "1")
        until(lambda: self.told("ActiveState") == "active")
        self.assertIn("Watchdog timeout (limit 5s)", self.by_systemd())
        self.assertIn("Failed with result 'watchdog'", self.by_systemd())

    def test_what_kills_it_restarts_it_and_a_faulty_configuration_does_not(self):
        self.start()
        self.machine.run(f"kill -KILL {self.told('MainPID')}")
        until(lambda: self.told("NRestarts") == "1")
        until(lambda: self.told("ActiveState") == "active")
        self.write("/etc/risksignal/risksignal.toml", "[batch]\nmax_row = 1\n")
        self.assertNotEqual(self.machine.try_to(f"systemctl restart {UNIT}").returncode, 0)
        self.assertEqual(self.told("ActiveState"), "failed")
        self.assertEqual(self.told("ExecMainStatus"), "78")
        said = [entry["MESSAGE"] for entry in self.journal()]
        self.assertTrue([line for line in said if "did you mean batch.max_rows?" in line], said)

    def test_it_runs_confined(self):
        self.start()
        security = self.machine.run(f"systemd-analyze security --threshold=19 {UNIT}")
        self.assertRegex(security, r"exposure level .*: 1\.\d")
        status = self.machine.run(f"cat /proc/{self.told('MainPID')}/status")
        found = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.M))
        self.assertEqual(found["CapEff"], "0" * 16)
        self.assertEqual(found["NoNewPrivs"], "1")
        # By a filter.
        self.assertEqual(found["Seccomp"], "2")
        uid = self.machine.run("id --user risksignal").strip()
        self.assertEqual(set(found["Uid"].split()), {uid})

    def test_an_upgrade_restarts_it_and_a_removal_stops_it(self):
        self.start()
        before = self.told("MainPID")
        self.machine.run(INSTALL)
        self.assertEqual(self.told("ActiveState"), "active")
        self.assertNotEqual(self.told("MainPID"), before)
        running = self.told("MainPID")
        self.addCleanup(self.machine.run, INSTALL)
        self.machine.run("dpkg --remove risksignal-ingest")
        self.assertEqual(self.told("ActiveState"), "inactive")
        self.machine.run(f"test ! -e /proc/{running}")


if __name__ == "__main__":
    unittest.main()
