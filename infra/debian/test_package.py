"""Builds the Debian package and installs it, in an overlay over this machine's root: changes by
dpkg and the package's scripts are gone with the test. The binary is the one of `cargo test`.

    infra/test debian
"""

import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from machine import can_overlay, in_overlay
from package import BINARY, INSTALL, REPOSITORY, build


@unittest.skipUnless(shutil.which("cargo-deb"), "needs cargo-deb")
@unittest.skipUnless(BINARY.exists(), "needs target/debug/risksignal")
@unittest.skipUnless(can_overlay(), "not permitted: mounts of its own")
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
        self.assertRegex(told, r"^risksignal \d+\.\d+\.\d+(-dev)? \(.+-linux-.+\)\n$")

    def test_the_shipped_configuration_has_no_faults_and_the_user_can_read_it(self):
        """Without servers `check` reports them; faulty settings would end it with status 78."""
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


    def test_it_has_its_manual_and_its_completions(self):
        told = self.run_installed(
            # dpkg leaves manual pages out in many containers, so this one is read from the package.
            "dpkg-deb --fsys-tarfile /mnt/risksignal.deb"
            " | tar -xO ./usr/share/man/man1/risksignal-dead-letters-list.1.gz | gzip -cd | head -n 3\n"
            "cd /usr/share\n"
            "bash -c 'source bash-completion/completions/risksignal && complete -p risksignal'\n"
            "ls zsh/vendor-completions/_risksignal fish/vendor_completions.d/risksignal.fish\n"
        )
        self.assertIn(".TH risksignal-dead-letters-list 1", told)
        self.assertIn(" -F _risksignal risksignal", told)

    def test_it_has_its_sbom_and_its_changelog(self):
        told = self.run_installed(
            "cd /usr/share/doc/risksignal-ingest; grep -c '^## ' CHANGELOG.md\n"
            "stat --format='%a' risksignal-ingest.cdx.json; cat risksignal-ingest.cdx.json"
        )
        releases, mode, sbom = told.split("\n", 2)
        self.assertGreater(int(releases), 0)
        self.assertEqual(mode, "644")
        sbom = json.loads(sbom)
        self.assertEqual(sbom["bomFormat"], "CycloneDX")
        version = subprocess.run([BINARY, "-V"], capture_output=True, text=True, check=True)
        program = sbom["metadata"]["component"]
        self.assertEqual(f"risksignal {program['version']}", version.stdout.strip())
        self.assertGreater(len(sbom["components"]), 100)


class Makefile(unittest.TestCase):
    def test_the_package_is_made_with_its_sbom(self):
        command = ["make", "--no-print-directory", "--dry-run", "deb"]
        told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        (sbom, licenses, build, pages, deb) = told.stdout.splitlines()
        self.assertEqual(sbom, "infra/sbom/sbom.py target/risksignal-ingest.cdx.json")
        self.assertEqual(licenses, "infra/sbom/licenses.py target/THIRD-PARTY-LICENSES.txt")
        self.assertEqual(build, "cargo build --release --locked")
        self.assertEqual(pages, "infra/debian/pages target/release/risksignal target/pages")
        self.assertEqual(deb, "cargo deb --locked")


if __name__ == "__main__":
    unittest.main()
