"""A copy of this machine in its own namespaces: writes go to an overlay over its root, which is
removed in the end. It runs a script, or a real systemd."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "local"))

from testing import DEADLINE_S, until_up  # noqa: E402

# An overlay cannot be on another one, but on a tmpfs.
OVERLAY = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --bind "$2" "$1/root/mnt"
"""
CHROOT = OVERLAY + 'exec chroot "$1/root" sh -ec "$3"'

# The journal is the machine's only service, and it does not read the kernel's log or audit. systemd
# has its own cgroup, which is removed in the end.
BOOT = (
    OVERLAY
    + """
cd "$1/root"
find usr/lib/systemd/system etc/systemd/system -path '*.wants/*' -delete
# An image may forbid packages to start services, for another use.
rm -rf usr/lib/systemd/system-generators etc/systemd/system-generators usr/sbin/policy-rc.d
mkdir -p etc/systemd/system/sysinit.target.wants etc/systemd/journald.conf.d
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -s "/usr/lib/systemd/system/$unit" etc/systemd/system/sysinit.target.wants
done
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=\\n' \\
    > etc/systemd/journald.conf.d/test.conf
mkdir "$1/cgroups"
mount -t cgroup2 cgroup2 "$1/cgroups"
own="$1/cgroups/risksignal-test-$$"
mkdir "$own"
echo $$ > "$own/cgroup.procs"
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --cgroup --uts --ipc \\
    sh -ec "$3" || true
echo $$ > "$1/cgroups/cgroup.procs"
find "$own" -depth -type d -exec rmdir {} ';'
"""
)
# Everything that systemd could change of this machine is read-only or a copy.
INIT = """
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm
pivot_root . media
umount --lazy /media
# As systemd does outside of containers: credentials are mounted this way.
mount --make-rshared /
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    /lib/systemd/systemd --system --unit=basic.target --show-status=no
"""
# Requirements of the above.
PROBE = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/cgroups
mount -t cgroup2 cgroup2 /mnt/cgroups
mkdir "/mnt/cgroups/risksignal-probe-$$"
rmdir "/mnt/cgroups/risksignal-probe-$$"
"""

def can_overlay() -> bool:
    """Reports whether this user may run a script in a copy."""
    return os.geteuid() == 0 and in_overlay(Path("/tmp"), "true").returncode == 0


def can_boot() -> bool:
    """Reports whether this user may boot a copy."""
    if not can_overlay() or not Path("/lib/systemd/systemd").exists():
        return False
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--cgroup",
               "--uts", "--ipc", "sh", "-c", PROBE]  # fmt: skip
    return subprocess.run(command, capture_output=True).returncode == 0


def in_overlay(packages: Path, script: str) -> subprocess.CompletedProcess:
    """Runs a script as root of a copy of this machine, with the folder of packages at /mnt."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", CHROOT]
        return subprocess.run(
            [*command, "sh", folder, packages, script], capture_output=True, text=True
        )


class Machine:
    """A copy of this machine booted by systemd, with the folder of packages at /mnt. It
    shares the network, and so the servers on loopback."""

    def __init__(self, packages: Path):
        self._folder = tempfile.TemporaryDirectory()
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL",
             "sh", "-c", BOOT, "sh", self._folder.name, packages, INIT],
            stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until_up(self._is_up, self.stop)

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            self._output.seek(0)
            raise OSError(f"no systemd can be run here: {self._output.read().strip()}")
        if not self._init():
            return False
        return self.try_to("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def _init(self) -> int | None:
        """Returns systemd's pid on this machine."""
        unshare = _child(self._process.pid, "unshare")
        return unshare and _child(unshare, "systemd")

    def try_to(self, script: str) -> subprocess.CompletedProcess:
        """Runs a script there."""
        init = self._init()
        if not init:
            raise OSError("systemd has ended")
        return subprocess.run(
            ["nsenter", f"--target={init}", "--mount", "--pid", "--cgroup", "--uts", "--ipc",
             "env", "-i", f"PATH={os.defpath}:/usr/sbin:/sbin", "sh", "-ec", script],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip

    def run(self, script: str) -> str:
        """Runs a script that must succeed, and returns its output."""
        told = self.try_to(script)
        if told.returncode != 0:
            raise AssertionError(f"{script}: {told.returncode}\n{told.stdout}{told.stderr}")
        return told.stdout

    def stop(self):
        """Ends it, with all of its processes."""
        if init := self._init():
            os.kill(init, signal.SIGKILL)
        elif self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._output.close()
        self._folder.cleanup()


def _child(parent: int, name: str) -> int | None:
    """Returns the only child of this name."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue
        command, rest = rest.rsplit(") ", 1)
        if command == name and int(rest.split()[1]) == parent:
            return int(pid)
    return None
