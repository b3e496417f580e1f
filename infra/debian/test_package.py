"""Makes the Debian package and installs it, in an overlay over this machine's root: what dpkg and
the package's scripts write is gone with the test. The binary is the one of `cargo test`.

    python3 -m unittest discover infra/debian
"""

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from machine import can_overlay, in_overlay
from package import BINARY, INSTALL, REPOSITORY, build


@unittest.skipUnless(shutil.which("cargo-deb"), "needs cargo-deb")
@unittest.skipUnless(BINARY.exists(), "needs target/debug/risksignal")
@unittest.skipUnless(can_overlay(), "needs root that may mount")
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.package = build(Path(folder.name))

    def run_installed(self, script: str) -> str:
        told = in_overlay(self.package.parent, INSTALL + script)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        return told.stdout

    def test_it_puts_each_file_in_its_place_with_its_permissions(self):
        paths = {
            "/usr/bin/risksignal": "755 root:root",
            "/usr/lib/systemd/system/risksignal-ingest.service": "644 root:root",
            "/usr/lib/sysusers.d/risksignal.conf": "644 root:root",
            "/etc/risksignal": "755 root:root",
            "/etc/risksignal/risksignal.toml": "640 root:risksignal",
            "/etc/risksignal/credentials": "700 root:root",
            "/etc/risksignal/credentials/clickhouse": "700 root:root",
            "/etc/risksignal/credentials/nats": "700 root:root",
            "/etc/risksignal/credentials/cache": "700 root:root",
            "/etc/risksignal/credentials/ops": "700 root:root",
            "/etc/risksignal/credentials/otel": "700 root:root",
        }
        told = self.run_installed(f"stat --format='%n %a %U:%G' {' '.join(paths)}")
        found = dict(line.split(" ", 1) for line in told.splitlines())
        self.assertEqual(found, paths)

    def test_it_makes_the_user_who_may_not_log_in(self):
        told = self.run_installed("getent passwd risksignal; getent group risksignal")
        user, group = (line.split(":") for line in told.splitlines())
        self.assertLess(int(user[2]), 1000)
        self.assertEqual(user[5:], ["/nonexistent", "/usr/sbin/nologin"])
        self.assertEqual(user[3], group[2])

    def test_the_installed_unit_is_valid_and_the_binary_runs(self):
        told = self.run_installed(
            "systemd-analyze verify /usr/lib/systemd/system/risksignal-ingest.service 2>&1\n"
            "risksignal --version\n"
        )
        self.assertRegex(told, r"^risksignal \d+\.\d+\.\d+\n$")

    def test_the_shipped_configuration_has_no_faults_and_the_user_can_read_it(self):
        """Without servers `check` tells of those; a fault would end it with status 78."""
        self.run_installed(
            "cd /etc/risksignal\n"
            "setpriv --reuid=risksignal --regid=risksignal --clear-groups"
            " risksignal check >/dev/null 2>&1 || test $? -lt 78\n"
        )

    def test_an_upgrade_keeps_what_the_operator_has_changed(self):
        told = self.run_installed(
            "echo '# mine' >> /etc/risksignal/risksignal.toml\n"
            "echo secret > /etc/risksignal/credentials/nats/token\n"
            + INSTALL
            + "tail -n 1 /etc/risksignal/risksignal.toml; cat /etc/risksignal/credentials/nats/token"
        )
        self.assertEqual(told.splitlines()[-2:], ["# mine", "secret"])

    def test_a_removal_keeps_the_configuration_and_a_purge_does_not(self):
        told = self.run_installed(
            "echo secret > /etc/risksignal/credentials/nats/token\n"
            "dpkg --remove risksignal-ingest >/dev/null 2>&1\n"
            "ls /etc/risksignal; test ! -e /usr/bin/risksignal\n"
            "dpkg --purge risksignal-ingest >/dev/null 2>&1\n"
            "test ! -e /etc/risksignal\n"
        )
        self.assertEqual(told.split(), ["credentials", "risksignal.toml"])


class Install(unittest.TestCase):
    def test_the_makefile_installs_the_same(self):
        """What `make install` would run, with a DESTDIR and another PREFIX."""
        with tempfile.TemporaryDirectory() as folder:
            recipe = subprocess.run(
                # Within `make test` it would say which folder it is in.
                ["make", "--no-print-directory", "--dry-run", "install",
                 f"DESTDIR={folder}", "PREFIX=/opt/risksignal"],
                cwd=REPOSITORY, capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            # All but the release build.
            (build, *steps) = recipe.splitlines()
            self.assertIn("cargo build --release", build)
            script = "\n".join(steps).replace("target/release/risksignal", "/bin/true")
            for _ in range(2):
                subprocess.run(["sh", "-ec", script], cwd=REPOSITORY, check=True)
            top = Path(folder)
            modes = {
                "opt/risksignal/bin/risksignal": 0o755,
                "opt/risksignal/lib/systemd/system/risksignal-ingest.service": 0o644,
                "opt/risksignal/lib/sysusers.d/risksignal.conf": 0o644,
                "etc/risksignal/risksignal.toml": 0o640,
                "etc/risksignal/credentials/clickhouse": 0o700,
                "etc/risksignal/credentials/nats": 0o700,
                "etc/risksignal/credentials/cache": 0o700,
                "etc/risksignal/credentials/ops": 0o700,
                "etc/risksignal/credentials/otel": 0o700,
            }
            self.assertEqual({p: (top / p).stat().st_mode & 0o777 for p in modes}, modes)
            unit = top / "opt/risksignal/lib/systemd/system/risksignal-ingest.service"
            self.assertIn("\nExecStart=/opt/risksignal/bin/risksignal run\n", unit.read_text())
            self.assertNotIn("systemctl", script)


if __name__ == "__main__":
    unittest.main()
