#!/usr/bin/env python3
"""Writes the program's SBOM: CycloneDX 1.6 as JSON, to the named file.

It lists the parts of the program, for the targets of deny.toml: the crates of Cargo.lock with
their checksums and licenses, and third-party files in this repository. Dependencies of
tests, benchmarks and build scripts are left out. The same sources give the same bytes.
"""

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = "risksignal-ingest"
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
# Chart library of the live page, by its npm package.
VENDORED = [("uplot", "1.6.32", "MIT", REPOSITORY / "src/ops/page/uPlot.iife.min.js")]


def metadata(target: str) -> dict:
    """Returns cargo's metadata for a target, without tests."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def targets() -> list[str]:
    """Returns the targets that the program is built for."""
    return tomllib.loads((REPOSITORY / "deny.toml").read_text())["graph"]["targets"]


def compiled_in(known: dict) -> dict[str, set[str]]:
    """Returns the ids of the program and of all its crates, each with its dependencies."""
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    [root] = [one["id"] for one in known["packages"] if one["name"] == PROGRAM]
    used, waiting = {}, [root]
    while waiting:
        crate = waiting.pop()
        if crate in used:
            continue
        used[crate] = {
            dependency["pkg"]
            for dependency in nodes[crate]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        }
        waiting.extend(used[crate])
    return used


def purl(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: dict, checksums: dict) -> dict:
    """Returns a crate in the form of CycloneDX."""
    found = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["license"]:
        # Older crates write "MIT/Apache-2.0".
        choices = [choice.strip() for choice in package["license"].split("/")]
        found["licenses"] = [{"expression": " OR ".join(choices)}]
    if checksum := checksums.get((package["name"], package["version"])):
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def vendored() -> list[dict]:
    """Returns third-party files in this repository; a version other than the file's is a defect."""
    found = []
    for name, version, license, path in VENDORED:
        if f"(v{version})" not in path.read_text():
            sys.exit(f"sbom: {path} is not version {version}, as infra/sbom/sbom.py has it")
        found.append(
            {
                "type": "library",
                "bom-ref": f"pkg:npm/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:npm/{name}@{version}",
                "licenses": [{"license": {"id": license}}],
            }
        )
    return found


def sbom() -> dict:
    """Returns the SBOM."""
    lock = (REPOSITORY / "Cargo.lock").read_text()
    checksums = {
        (one["name"], one["version"]): one["checksum"]
        for one in tomllib.loads(lock)["package"]
        if one.get("source") == REGISTRY
    }
    packages, used = {}, {}
    for target in targets():
        known = metadata(target)
        packages |= {package["id"]: package for package in known["packages"]}
        for crate, uses in compiled_in(known).items():
            used.setdefault(crate, set()).update(uses)
    refs = {crate: purl(packages[crate]) for crate in used}
    [root] = [crate for crate in used if packages[crate]["name"] == PROGRAM]
    components = [component(packages[crate], checksums) for crate in used if crate != root]
    others = vendored()
    components = sorted(components + others, key=lambda one: one["bom-ref"])
    uses = {refs[crate]: sorted(refs[one] for one in used[crate]) for crate in used}
    uses[refs[root]] += [one["bom-ref"] for one in others]
    program = component(packages[root], checksums) | {"type": "application"}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, refs[root] + lock)}",
        "version": 1,
        "metadata": {"component": program},
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": uses[ref]} for ref in sorted(uses)],
    }


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: sbom.py FILE")
    text = json.dumps(sbom(), indent=2) + "\n"
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
