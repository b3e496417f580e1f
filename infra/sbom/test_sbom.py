"""Tests of the SBOM of this repository."""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import licenses
import sbom

SBOM = Path(__file__).parent / "sbom.py"


def made(path: Path) -> bytes:
    subprocess.run([sys.executable, SBOM, path], check=True)
    return path.read_bytes()


class Licenses(unittest.TestCase):
    def test_each_part_is_named_with_its_text(self):
        text = licenses.document()
        for one in sbom.sbom()["components"]:
            if not one["name"].startswith("risksignal-"):
                self.assertRegex(text, rf"\b{re.escape(one['name'])} {re.escape(one['version'])}\b")
        (without,) = text.split("Published without a text of their license:")[1:]
        # ring is under licenses of its own, which no list of names replaces.
        self.assertNotIn("ring 0", without)
        self.assertIn("Permission to use, copy, modify, and/or distribute", text)


class Sbom(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.path = Path(folder.name) / "made" / "sbom.json"
        cls.text = made(cls.path)
        cls.sbom = json.loads(cls.text)
        cls.components = {one["name"]: one for one in cls.sbom["components"]}

    def test_it_has_what_is_compiled_in_and_nothing_else(self):
        for name in ["async-nats", "rustls", "ring", "libmimalloc-sys", "risksignal-claims", "uplot"]:
            self.assertIn(name, self.components)
        # Of tests, of benchmarks and of build scripts.
        for name in ["proptest", "divan", "fantoccini", "cc", "risksignal-ingest"]:
            self.assertNotIn(name, self.components)
        self.assertEqual("risksignal-ingest", self.sbom["metadata"]["component"]["name"])

    def test_each_crate_has_its_license_and_its_checksum(self):
        for name, one in self.components.items():
            if name.startswith("risksignal-"):
                continue
            self.assertTrue(one["licenses"], one)
            if one["purl"].startswith("pkg:cargo/"):
                [checksum] = one["hashes"]
                self.assertRegex(checksum["content"], "^[0-9a-f]{64}$", one)

    def test_each_reference_has_its_component(self):
        refs = {one["bom-ref"] for one in self.sbom["components"]}
        self.assertEqual(len(self.sbom["components"]), len(refs))
        root = self.sbom["metadata"]["component"]["bom-ref"]
        for one in self.sbom["dependencies"]:
            self.assertIn(one["ref"], refs | {root})
            self.assertLessEqual(set(one["dependsOn"]), refs)
        reached, waiting = set(), [root]
        uses = {one["ref"]: one["dependsOn"] for one in self.sbom["dependencies"]}
        while waiting:
            ref = waiting.pop()
            if ref not in reached:
                reached.add(ref)
                waiting.extend(uses.get(ref, []))
        self.assertEqual(refs | {root}, reached)

    def test_the_same_sources_give_the_same_bytes(self):
        self.assertEqual(self.text, made(self.path.with_name("again.json")))


if __name__ == "__main__":
    unittest.main()
