"""Checks of the unit, by systemd's own tools.

    infra/test systemd
"""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

UNIT = Path(__file__).with_name("risksignal-ingest.service")
REPOSITORY = Path(__file__).parents[2]
# In tenths, as --threshold takes it.
EXPOSURE_MAX = 20


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M):
        found.setdefault(key, []).append(value)
    return found


def seconds(text: str) -> float:
    amount, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()
    return float(amount) * {"s": 1, "min": 60}[unit]


@unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze")
class Analyze(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.installed = Path(folder.name) / UNIT.name
        # It also checks that the program exists.
        self.installed.write_text(UNIT.read_text().replace("/usr/bin/risksignal", "/bin/true"))

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess:
        command = ["systemd-analyze", *arguments, self.installed]
        return subprocess.run(command, capture_output=True, text=True)

    def test_the_unit_is_valid(self):
        told = self.analyze("verify")
        self.assertEqual((told.returncode, told.stderr), (0, ""))

    def test_the_exposure_is_under_2(self):
        told = self.analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX - 1}")
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)

    def test_an_open_unit_would_not_pass(self):
        text = re.sub(r"^(Protect|Private|Restrict|System).*\n", "", UNIT.read_text(), flags=re.M)
        self.installed.write_text(text)
        told = self.analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX - 1}")
        self.assertNotEqual(told.returncode, 0)


class Unit(unittest.TestCase):
    def test_a_stop_has_more_time_than_the_daemon_takes(self):
        example = (REPOSITORY / "risksignal.example.toml").read_text()
        (grace,) = re.findall(r'^#grace = "(\w+)"$', example, re.M)
        (stop,) = settings()["TimeoutStopSec"]
        self.assertGreater(seconds(stop), seconds(grace))

    def test_a_daemon_that_hangs_is_restarted_and_a_faulty_configuration_is_not(self):
        unit = settings()
        self.assertEqual(unit["Type"], ["notify"])
        # A timeout of the watchdog counts as a failure, too.
        self.assertEqual(unit["Restart"], ["on-failure"])
        self.assertGreater(seconds(unit["WatchdogSec"][0]), 15)
        self.assertEqual(unit["RestartPreventExitStatus"], ["78"])

    def test_every_credential_is_a_secret_of_the_daemon(self):
        """A folder's credentials are named `<id>_<file>`, as the daemon names its secrets."""
        # The page is generated from the settings in the code.
        reference = (REPOSITORY / "docs" / "settings.md").read_text()
        secrets = re.findall(r"(?m)^\| `(\w+)\.(\w+)` .* A secret:", reference)
        self.assertGreater(len(secrets), 5)
        loaded = [value.split(":")[0] for value in settings()["LoadCredential"]]
        self.assertEqual(sorted({section for section, _ in secrets}), sorted(loaded))


if __name__ == "__main__":
    unittest.main()
