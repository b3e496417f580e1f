"""Builds the Debian package of the binary of `cargo test`, which has the fault points."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BINARY = REPOSITORY / "target" / "debug" / "risksignal"
SBOM = REPOSITORY / "target" / "risksignal-ingest.cdx.json"
LICENSES = REPOSITORY / "target" / "THIRD-PARTY-LICENSES.txt"
# The folder is at /mnt there.
INSTALL = "dpkg --force-depends --install /mnt/risksignal.deb >/dev/null\n"


def build(folder: Path) -> Path:
    """Builds the package in this folder."""
    target = folder / "target"
    (target / "release").mkdir(parents=True)
    shutil.copy2(BINARY, target / "release" / "risksignal")
    # As `make deb` does.
    for program, path in (("sbom.py", SBOM), ("licenses.py", LICENSES)):
        subprocess.run([REPOSITORY / "infra" / "sbom" / program, path], check=True)
    pages = REPOSITORY / "infra" / "debian" / "pages"
    subprocess.run([pages, BINARY, REPOSITORY / "target" / "pages"], check=True)
    package = folder / "risksignal.deb"
    subprocess.run(
        ["cargo", "deb", "--locked", "--no-build", "--fast", "--quiet", "-o", package],
        cwd=REPOSITORY,
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    return package
