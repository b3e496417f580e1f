#!/usr/bin/env python3
"""The files of an installation, in a folder of their own, and that folder as a tarball whose bytes
depend on nothing but its content.

    infra/release/tree.py BINARY FOLDER    makes the folder
"""

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = "share/doc/risksignal-ingest"
SHARED = "share/risksignal-ingest"

# Each with its place in the tree. The folders bin, lib and share go below the prefix; install.sh
# does the rest.
FILES = {
    "infra/release/install.sh": "install.sh",
    "LICENSE": "LICENSE",
    "README.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "risksignal.example.toml": "etc/risksignal.example.toml",
    ".env.example": "etc/env.example",
    "infra/systemd/risksignal-ingest.service": "lib/systemd/system/risksignal-ingest.service",
    "infra/systemd/risksignal.sysusers": "lib/sysusers.d/risksignal.conf",
    "docs/risksignal.schema.json": f"{SHARED}/risksignal.schema.json",
    "infra/clickhouse/grants.sql": f"{SHARED}/grants.sql",
    "infra/nats/least-privilege.conf": f"{SHARED}/least-privilege.conf",
    "infra/prometheus/rules.yml": f"{SHARED}/rules.yml",
    "infra/grafana/dashboards/pipeline.json": f"{SHARED}/pipeline.json",
    "infra/grafana/dashboards/storage.json": f"{SHARED}/storage.json",
    "target/risksignal-ingest.cdx.json": f"{DOCUMENTS}/risksignal-ingest.cdx.json",
    "target/THIRD-PARTY-LICENSES.txt": f"{DOCUMENTS}/THIRD-PARTY-LICENSES.txt",
}
PAGES = REPOSITORY / "target/pages"
COMPLETIONS = {
    "bash": "bash-completion/completions/risksignal",
    "zsh": "zsh/site-functions/_risksignal",
    "fish": "fish/vendor_completions.d/risksignal.fish",
}
PROGRAMS = ("bin/risksignal", "install.sh")


def made(tree: Path, binary: Path) -> None:
    """Makes the tree, with the written pages."""
    shutil.rmtree(tree, ignore_errors=True)
    for source, place in FILES.items():
        _put(REPOSITORY / source, tree / place)
    _put(binary, tree / "bin/risksignal")
    for page in PAGES.glob("man/*"):
        _put(page, tree / "share/man/man1" / page.name)
    for shell, place in COMPLETIONS.items():
        _put(PAGES / f"risksignal.{shell}", tree / "share" / place)
    for path in tree.rglob("*"):
        path.chmod(_mode(tree, path))


def _mode(tree: Path, path: Path) -> int:
    """Returns the mode of a path in the tree, which depends on no umask."""
    is_program = path.is_dir() or path.relative_to(tree).as_posix() in PROGRAMS
    return 0o755 if is_program else 0o644


def write_pages(binary: Path) -> None:
    """Has the program write its man pages and completions, for tree and package."""
    subprocess.run([REPOSITORY / "infra/debian/pages", binary, PAGES], check=True)


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def packed(tree: Path, tarball: Path, epoch: int) -> None:
    """Packs the tree: sorted, of root, with one time, and without the name of the archive."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in [tree, *sorted(tree.rglob("*"))]:
            name = path.relative_to(tree.parent).as_posix()
            entry = archive.gettarinfo(path, name)
            entry.mode = _mode(tree, path)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mtime = epoch
            content = path.read_bytes() if path.is_file() else b""
            archive.addfile(entry, io.BytesIO(content))
    tarball.write_bytes(gzip.compress(raw.getvalue(), mtime=0))


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: tree.py BINARY FOLDER")
    binary, folder = (Path(argument).resolve() for argument in sys.argv[1:])
    write_pages(binary)
    made(folder, binary)


if __name__ == "__main__":
    main()
