"""Tests of the tarball and its installer, and of what a release requires. The binary is the one of
`cargo test`.

    infra/test release
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

import release
import tree
from tree import REPOSITORY

BINARY = REPOSITORY / "target" / "debug" / "risksignal"
EPOCH = 1_790_000_000
NAME = "risksignal-ingest-1.2.3"


def folder_of(test: unittest.TestCase) -> Path:
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    return Path(folder.name)


@unittest.skipUnless(BINARY.exists(), "needs target/debug/risksignal")
class Tarball(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.top = Path(folder.name)
        for program, path in (("sbom.py", release.SBOM), ("licenses.py", release.LICENSES)):
            subprocess.run([REPOSITORY / "infra/sbom" / program, path], check=True)
        tree.write_pages(BINARY)
        # The content of the binary does not matter here, and a small one packs quickly.
        cls.tree = cls.top / NAME
        tree.made(cls.tree, Path("/bin/true"))
        cls.tarball = cls.top / "first.tar.gz"
        tree.packed(cls.tree, cls.tarball, EPOCH)

    def test_the_same_files_give_the_same_bytes(self):
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        again = folder_of(self) / "elsewhere"
        tree.made(again / NAME, Path("/bin/true"))
        tree.packed(again / NAME, again / "second.tar.gz", EPOCH)
        self.assertEqual((again / "second.tar.gz").read_bytes(), self.tarball.read_bytes())

    def test_each_entry_is_of_root_and_of_the_time_of_the_commit(self):
        with tarfile.open(self.tarball) as packed:
            entries = packed.getmembers()
        self.assertEqual({(e.uname, e.uid, e.gid, e.mtime) for e in entries}, {("root", 0, 0, EPOCH)})
        self.assertEqual({e.name.split("/")[0] for e in entries}, {NAME})
        programs = {e.name for e in entries if e.isfile() and e.mode == 0o755}
        self.assertEqual(programs, {f"{NAME}/{name}" for name in tree.PROGRAMS})

    def install(self, root: Path, *arguments: str):
        with tarfile.open(self.tarball) as packed:
            packed.extractall(root / "unpacked", filter="data")
        self.install_from(root / "unpacked" / NAME, root, *arguments)

    def install_from(self, tree: Path, root: Path, *arguments: str):
        subprocess.run(
            [tree / "install.sh", *arguments], check=True,
            env={"PATH": os.environ["PATH"], "DESTDIR": str(root / "to"), "PREFIX": "/opt/one"},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def test_the_folder_installs_as_it_is(self):
        """`make install` and docs/install-source.md run the installer there, without a tarball."""
        root = folder_of(self)
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        tree.made(root / NAME, Path("/bin/true"))
        self.assertTrue(os.access(root / NAME / "bin/risksignal", os.X_OK))
        self.install_from(root / NAME, root)
        subprocess.run([root / "to/opt/one/bin/risksignal"], check=True)

    def test_it_installs_and_keeps_the_configuration(self):
        root = folder_of(self)
        self.install(root)
        to = root / "to"
        modes = {
            "opt/one/bin/risksignal": 0o755,
            "opt/one/lib/systemd/system/risksignal-ingest.service": 0o644,
            "opt/one/lib/sysusers.d/risksignal.conf": 0o644,
            "opt/one/share/risksignal-ingest/grants.sql": 0o644,
            "etc/risksignal/risksignal.toml": 0o640,
            "etc/risksignal/credentials": 0o700,
        }
        self.assertEqual({path: (to / path).stat().st_mode & 0o777 for path in modes}, modes)
        unit = (to / "opt/one/lib/systemd/system/risksignal-ingest.service").read_text()
        self.assertIn("\nExecStart=/opt/one/bin/risksignal run\n", unit)
        sections = {path.name for path in (to / "etc/risksignal/credentials").iterdir()}
        loaded = re.findall(r"^LoadCredential=(\w+):", unit, re.M)
        self.assertEqual(sections, set(loaded))

        settings = to / "etc/risksignal/risksignal.toml"
        settings.write_text("# mine\n")
        self.install(root)
        self.assertEqual(settings.read_text(), "# mine\n")
        self.install(root, "--remove")
        left = [path.relative_to(to) for path in to.rglob("*") if path.is_file()]
        self.assertEqual(left, [Path("etc/risksignal/risksignal.toml")])


class Makefile(unittest.TestCase):
    def test_make_install_runs_the_installer_of_the_tarball(self):
        command = ["make", "--no-print-directory", "--dry-run", "install", "DESTDIR=/to"]
        told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        self.assertEqual(
            told.stdout.splitlines()[-2:],
            ["infra/release/tree.py target/release/risksignal target/install",
             "PREFIX=/usr/local DESTDIR=/to target/install/install.sh"],
        )  # fmt: skip


class Requirements(unittest.TestCase):
    def test_the_notes_are_the_newest_section(self):
        text = "# Changelog\n\n## [1.10.0] - 2026-01-02\n\n- b\n\n## [1.1.0]\n- a\n"
        self.assertEqual(release.newest(text), ("1.10.0", "- b\n"))
        text = text.replace("[1.10.0] - 2026-01-02", "[Unreleased]")
        self.assertEqual(release.newest(text), ("Unreleased", "- b\n"))
        self.assertEqual(release.newest("# Changelog\n"), ("", "\n"))

    def test_a_checkout_that_is_no_release_is_refused_with_all_reasons(self):
        copy = folder_of(self)
        for name in ("Cargo.toml", "infra/release/release.py", "infra/release/tree.py"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text((REPOSITORY / name).read_text())
        author = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
        for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "-qm", "One"]):
            subprocess.run(["git", *command], cwd=copy, check=True)
        (copy / "CHANGELOG.md").write_text("# Changelog\n")
        (copy / "infra/helm/risksignal-ingest").mkdir(parents=True)
        (copy / "infra/helm/risksignal-ingest/Chart.yaml").write_text("")
        told = subprocess.run(
            [sys.executable, copy / "infra/release/release.py"], capture_output=True, text=True
        )
        self.assertEqual(told.returncode, 1, told.stderr)
        for words in ("has changes", "has no tag v", "begins with", "appVersion"):
            self.assertIn(words, told.stderr)


if __name__ == "__main__":
    unittest.main()
