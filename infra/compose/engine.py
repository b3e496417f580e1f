"""A Docker engine of its own, in namespaces of its own.

Network, mounts and processes belong to the namespaces, and all data to a tmpfs in them. So the
engine needs no port of this machine, changes no rule of its firewall, and is gone, containers
included, once its first process is killed.
"""

import atexit
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCAL = Path(__file__).resolve().parents[1] / "local"
sys.path.insert(0, str(LOCAL))

import fetch  # noqa: E402
from testing import DEADLINE_S, until, until_up  # noqa: E402

TOOLS = ("runc", "iptables", "ip", "unshare", "nsenter", "setpriv")
CGROUPS = Path("/sys/fs/cgroup")

# The shell stays the first process, which waits for orphans.
INIT = """
ip link set lo up
mount -t tmpfs -o mode=711 tmpfs "$1"
dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" \\
    --host "unix://$1/docker.sock" --cgroup-parent "/$2" >"$3" 2>&1 &
wait $!
"""
# Requirements of the above: an overlay on a tmpfs, a bridge, a firewall, and cgroups.
PROBE = """
set -e
ip link add probe type bridge
iptables -t nat -n -L >/dev/null
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
for cgroup in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    mkdir "$cgroup/risksignal-probe-$1" && rmdir "$cgroup/risksignal-probe-$1" && exit
done
exit 1
"""
UNSHARE = ["unshare", "--mount", "--propagation", "private", "--net", "--ipc", "--pid", "--fork",
           "--kill-child", "--mount-proc"]  # fmt: skip


def obstacle() -> str | None:
    """Returns the reason why no engine can run here; none if one can."""
    if os.geteuid() != 0:
        return "not permitted: an engine needs root"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"needs {', '.join(missing)}: apt-get install runc iptables iproute2"
    probe = [*UNSHARE, "sh", "-c", PROBE, "sh", str(os.getpid())]
    probe = subprocess.run(probe, capture_output=True, text=True)
    if probe.returncode != 0:
        return f"not permitted: {probe.stderr.strip()}"
    return None


class Engine:
    """Runs until `stop`, and ends with the thread that made it."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="risksignal-compose-")
        self.folder = Path(self._folder.name)
        programs = fetch.docker()
        plugins = self.folder / "config" / "cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(programs / "docker-compose")
        run = self.folder / "run"
        run.mkdir()
        self.log = self.folder / "dockerd.log"
        self._cgroup = self.folder.name
        self.environment = {
            "HOME": str(self.folder),
            "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "DOCKER_CONFIG": str(plugins.parent),
            "DOCKER_HOST": f"unix://{run}/docker.sock",
        }
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *UNSHARE, "sh", "-c", INIT, "sh", run, self._cgroup,
             self.log],
            env=self.environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # Also after Ctrl-C.
        atexit.register(self.stop)
        until_up(self._is_up, self.stop)

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise OSError(f"the engine has ended: {self.log.read_text()[-2000:]}")
        return self._init() is not None and self.run("docker version", check=False).returncode == 0

    def _init(self) -> int | None:
        """Returns the pid of the first process in the namespaces."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def command(self, script: str, folder: Path | None = None) -> list[str]:
        """Returns the command that runs a script of bash in the namespaces."""
        script = f"cd {shlex.quote(str(folder or self.folder))}\n{script}"
        return ["nsenter", f"--target={self._init()}", "--mount", "--net", "--ipc", "--pid",
                "bash", "-euo", "pipefail", "-c", script]  # fmt: skip

    def run(self, script: str, folder: Path | None = None, check=True, **options):
        """Runs a script in the namespaces; one that fails is an error with its output."""
        done = subprocess.run(
            self.command(script, folder),
            env=self.environment,
            capture_output=True,
            text=True,
            **{"stdin": subprocess.DEVNULL, "timeout": 10 * DEADLINE_S, **options},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{script}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def feed(self, script: str, write) -> None:
        """Runs a script that reads what `write` writes into its standard input."""
        process = subprocess.Popen(
            self.command(script),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        with process, contextlib.suppress(BrokenPipeError):
            write(process.stdin)
        if process.returncode != 0:
            raise AssertionError(f"{script}: {process.returncode}")

    def stop(self):
        """Ends the engine with all of its containers, and removes everything."""
        # Without its parent, the first process in the namespaces ends, and with it all others.
        self._process.kill()
        self._process.wait()
        atexit.unregister(self.stop)
        until(self._no_cgroups)
        self._folder.cleanup()

    def _no_cgroups(self) -> bool:
        """Removes the containers' cgroups; a process that ends still holds its own."""
        tops = [*CGROUPS.glob(self._cgroup), *CGROUPS.glob(f"*/{self._cgroup}")]
        for top in tops:
            for folder, *_ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return not any(top.exists() for top in tops)
