"""Makes the Debian package of the binary of `cargo test`, which has the fault points."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BINARY = REPOSITORY / "target" / "debug" / "risksignal"
# Where its folder is at /mnt.
INSTALL = "dpkg --force-depends --install /mnt/risksignal.deb >/dev/null\n"


def build(folder: Path) -> Path:
    """The package, made in this folder."""
    target = folder / "target"
    (target / "release").mkdir(parents=True)
    shutil.copy2(BINARY, target / "release" / "risksignal")
    package = folder / "risksignal.deb"
    subprocess.run(
        ["cargo", "deb", "--locked", "--no-build", "--fast", "--quiet", "-o", package],
        cwd=REPOSITORY,
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    return package
