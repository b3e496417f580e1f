"""Folders of the local stack, their lock, and its errors."""

import contextlib
import fcntl
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
INFRA = REPOSITORY / "infra"


class StackError(Exception):
    """What happened, to what, and what to do; shown without a traceback."""


def downloads() -> Path:
    """Returns the folder of fetched servers, which several checkouts may share."""
    return Path(os.environ.get("RISKSIGNAL_LOCAL_DIR") or REPOSITORY / ".local").resolve()


def stack_dir() -> Path:
    """Returns the folder of this checkout's running stack: data, logs and pid files."""
    return Path(
        os.environ.get("RISKSIGNAL_LOCAL_STACK_DIR") or REPOSITORY / ".local" / "stack"
    ).resolve()


@contextlib.contextmanager
def locked(path: Path):
    """Holds an exclusive lock on the file, which the kernel releases with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
