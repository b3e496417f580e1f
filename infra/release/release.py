#!/usr/bin/env python3
"""Makes a release of this checkout in target/release-VERSION: tarball, Debian package, image, SBOM,
notes and checksums. docs/internals/releasing.md says how a release is prepared.

The same commit gives the same bytes in every folder, by the same toolchain.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import tree
from tree import REPOSITORY

NAME = "risksignal-ingest"
TARGET = REPOSITORY / "target"
CHANGELOG = REPOSITORY / "CHANGELOG.md"
# Inputs of the package and the tarball that other programs of infra write.
SBOM = TARGET / f"{NAME}.cdx.json"
LICENSES = TARGET / "THIRD-PARTY-LICENSES.txt"
IMAGE_FILE = "infra/docker/Dockerfile"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Source:
    """The checkout that is released."""

    version: str
    commit: str
    # Seconds since 1970 of the commit: the time of every file.
    epoch: int


def output(*command: str | Path, **options) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options)
    return done.stdout.strip()


def host() -> str:
    """Returns the target that is this machine."""
    return re.search(r"^host: (\S+)$", output("rustc", "-vV"), re.M)[1]


def git(*arguments: str) -> str:
    return output("git", "-C", REPOSITORY, *arguments)


def source() -> Source:
    manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
    return Source(
        version=manifest["workspace"]["package"]["version"],
        commit=git("rev-parse", "HEAD"),
        epoch=int(git("log", "-1", "--format=%ct")),
    )


def newest(changelog: str) -> tuple[str, str]:
    """Returns the name of the first section, and its text without the heading."""
    found = re.search(r"^## \[([^]]*)\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    name, text = found.groups() if found else ("", "")
    return name, text.strip() + "\n"


def faults(made: Source) -> list[str]:
    """Returns what keeps this checkout from being a release."""
    found = []
    if git("status", "--porcelain"):
        found.append("the checkout has changes; commit them")
    tag = f"v{made.version}"
    if tag not in git("tag", "--points-at", "HEAD").split():
        found.append(f"the commit has no tag {tag}")
    if (section := newest(CHANGELOG.read_text())[0]) != made.version:
        found.append(f"CHANGELOG.md begins with [{section}], not with [{made.version}]")
    chart = (REPOSITORY / "infra/helm/risksignal-ingest/Chart.yaml").read_text()
    if f'appVersion: "{made.version}"' not in chart:
        found.append(f"the appVersion of the chart is not {made.version}")
    return found


def environment(epoch: int) -> dict[str, str]:
    """Returns the variables of a build whose result has no path of this machine."""
    home = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    sysroot = output("rustc", "--print", "sysroot")
    commit = re.search(r"^commit-hash: (\w+)$", output("rustc", "-vV"), re.M)[1]
    names = {
        str(REPOSITORY): "/risksignal",
        home: "/cargo",
        f"{sysroot}/lib/rustlib/src/rust": f"/rustc/{commit}",
    }
    flags = [f"--remap-path-prefix={path}={name}" for path, name in names.items()]
    prefixes = [f"-ffile-prefix-map={path}={name}" for path, name in names.items()]
    return os.environ | {
        "SOURCE_DATE_EPOCH": str(epoch),
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags),
        "CFLAGS": " ".join(prefixes),
        "CARGO_INCREMENTAL": "0",
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def built(made: Source, triple: str, profile: str) -> Path:
    """Builds the program in a folder of its own, since the flags differ, and returns its path."""
    folder = TARGET / "reproducible"
    command = ["cargo", "build", "--locked", "--profile", profile, "--bin", "risksignal"]
    # With --target the flags would not reach procedural macros, whose paths then get into the
    # hashes of the crates that use them.
    across = [] if triple == host() else ["--target", triple]
    subprocess.run(
        [*command, *across, "--target-dir", folder],
        cwd=REPOSITORY, env=environment(made.epoch), check=True,
    )  # fmt: skip
    folder = folder / triple if across else folder
    return folder / ("debug" if profile == "dev" else profile) / "risksignal"


def package(made: Source, triple: str, binary: Path, folder: Path, work: Path) -> None:
    """Writes the Debian package of the same binary."""
    place = work / "target" / triple / "release"
    place.mkdir(parents=True)
    shutil.copy2(binary, place / "risksignal")
    subprocess.run(
        ["cargo", "deb", "--locked", "--no-build", "--no-strip", "--quiet", "--target", triple,
         "--output", folder],
        cwd=REPOSITORY, check=True,
        env=environment(made.epoch) | {"CARGO_TARGET_DIR": str(work / "target")},
    )  # fmt: skip


def image(made: Source, triple: str, folder: Path) -> str | None:
    """Writes the image as an archive for `docker load`; returns why not, where no engine runs."""
    if not shutil.which("docker"):
        return "image: there is no docker"
    for needed in (["docker", "version"], ["docker", "compose", "version"]):
        done = subprocess.run(needed, capture_output=True, text=True)
        if done.returncode != 0:
            return f"image: {done.stderr.strip().splitlines()[0]}"
    architecture = ARCHITECTURES[triple.split("-")[0]]
    name = f"{NAME}:{made.version}"
    stamp = {"RISKSIGNAL_COMMIT": made.commit, "SOURCE_DATE_EPOCH": str(made.epoch)}
    build = {
        "context": ".",
        "dockerfile": IMAGE_FILE,
        "platforms": [f"linux/{architecture}"],
        "args": stamp,
    }
    # Compose has BuildKit, which the file needs; Debian's `docker build` has not.
    subprocess.run(
        ["docker", "compose", "--file", "-", "--project-directory", REPOSITORY, "build"],
        input=json.dumps({"services": {"release": {"image": name, "build": build}}}), text=True,
        check=True,
    )  # fmt: skip
    archive = folder / f"{NAME}-{made.version}-image-{architecture}.tar"
    subprocess.run(["docker", "save", "--output", archive, name], check=True)
    archive.chmod(0o644)
    return None


def oldest_glibc(binary: Path) -> str:
    """Returns the oldest glibc that has every symbol of the binary."""
    versions = re.findall(r"Name: GLIBC_([\d.]+)", output("readelf", "--version-info", binary))
    return max(versions, key=lambda version: tuple(map(int, version.split("."))))


def description(made: Source, triple: str, profile: str, binary: Path) -> str:
    return (
        f"version: {made.version}\ncommit: {made.commit}\nSOURCE_DATE_EPOCH: {made.epoch}\n"
        f"target: {triple}\nprofile: {profile}\nrustc: {output('rustc', '--version')}\n"
        f"cargo-deb: {output('cargo', 'deb', '--version')}\n"
        f"glibc: {oldest_glibc(binary)} or later\n"
    )


def write_checksums(folder: Path) -> None:
    """Writes SHA256SUMS, for `sha256sum --check`."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (folder / "SHA256SUMS").write_text("".join(lines))


def make(made: Source, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Makes the files of the release; returns what is left out, and why."""
    triple = arguments.target
    work = TARGET / "release-work"
    for one in (folder, work):
        shutil.rmtree(one, ignore_errors=True)
        one.mkdir(parents=True)
    binary = arguments.binary or built(made, triple, arguments.profile)
    for program, path in (("sbom.py", SBOM), ("licenses.py", LICENSES)):
        subprocess.run([REPOSITORY / "infra/sbom" / program, path], check=True)
    name = f"{NAME}-{made.version}"
    tree.write_pages(arguments.runs_here or binary)
    tree.made(work / f"{name}-{triple}", binary)
    tree.packed(work / f"{name}-{triple}", folder / f"{name}-{triple}.tar.gz", made.epoch)
    package(made, triple, binary, folder, work)
    without = "image: not asked for" if arguments.no_image else image(made, triple, folder)
    skipped = [without] if without else []
    shutil.copyfile(SBOM, folder / f"{name}.cdx.json")
    (folder / f"{name}.md").write_text(newest(CHANGELOG.read_text())[1])
    lines = "".join(f"skipped: {why}\n" for why in skipped)
    described = description(made, triple, arguments.profile, binary)
    (folder / f"{name}.txt").write_text(described + lines)
    write_checksums(folder)
    shutil.rmtree(work)
    return skipped


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--profile", default="release", help="of Cargo.toml")
    options.add_argument("--target", default=host(), help="such as aarch64-unknown-linux-gnu")
    options.add_argument("--draft", action="store_true", help="warn where a release would fail")
    options.add_argument("--binary", type=Path, help="a built one, for tests of the packaging")
    options.add_argument(
        "--runs-here", type=Path, metavar="BINARY",
        help="of this version for this machine, which writes man pages and completions when the "
        "target is another",
    )  # fmt: skip
    options.add_argument("--no-image", action="store_true", help="build no image")
    options.add_argument("--output", type=Path, help="in place of target/release-VERSION")
    return options


def main() -> None:
    arguments = parser().parse_args()
    made = source()
    found = faults(made)
    for fault in found:
        print(f"release: {'draft: ' if arguments.draft else ''}{fault}", file=sys.stderr)
    if found and not arguments.draft:
        sys.exit(1)
    suffix = "-draft" if arguments.draft else ""
    folder = arguments.output or TARGET / f"release-{made.version}{suffix}"
    for why in make(made, folder, arguments):
        print(f"release: skipped {why}", file=sys.stderr)
    print(f"{folder}:")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.name}")


if __name__ == "__main__":
    main()
