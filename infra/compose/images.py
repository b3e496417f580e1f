"""Stand-ins of the images that docker-compose.yml and the Dockerfiles name, under these names,
where no registry can be reached.

Each is packed from files of this machine and the fetched servers. Real are: nats-server, Redis,
Prometheus, the C library of the daemon's image, and all that the project adds. ClickHouse is
libchdb behind the real paths, user id and environment, Surveyor a program of thirty lines with the
real login, and Grafana a health check that has read the mounted files.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine import LOCAL, Engine

import fetch

REPOSITORY = LOCAL.parents[1]
STANDINS = Path(__file__).resolve().parent / "standins"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
NOBODY = 65534
MIB = 1 << 20
# Of Python's library.
LEFT_OUT = ("site-packages", "test", "idlelib", "ensurepip", "pydoc_data")
# The dependencies' sources.
VENDOR = REPOSITORY / "target" / "vendor"
VENDORED = """
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/usr/local/cargo/vendor"
"""
TOOLCHAIN = ("/usr/bin", "/usr/lib", "/usr/include", "/lib")
APPLETS = ("cat", "gunzip", "gzip", "httpd", "mkdir", "nc", "rm", "sh", "tar", "touch", "wget")


class Files:
    """The files of an image."""

    def __init__(self):
        # Target → entry and source, or text.
        self._files = {}
        for link in ("bin", "sbin", "lib", "lib64"):
            self.link(f"/{link}", f"usr/{link}")
        self.folder("/tmp", mode=0o1777)
        self.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")

    def add(self, source: Path | str, target: str | None = None, without: tuple = ()) -> None:
        """Adds a file, or a folder without some names, and follows links."""
        source = Path(source)
        target = target or str(source)
        if source.is_dir():
            for path in source.iterdir():
                if path.name not in without:
                    self.add(path, f"{target}/{path.name}", without)
        else:
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
            entry = self._entry(target, tarfile.REGTYPE, mode)
            entry.size = source.stat().st_size
            # Compiled Python names the time of its source.
            entry.mtime = int(source.stat().st_mtime)
            self._files.setdefault(entry.name, (entry, source))

    def program(self, name: Path | str, target: str | None = None) -> None:
        """Adds a program from `PATH`, or a library, with the libraries that it loads."""
        source = shutil.which(name) or name
        self.add(source, target)
        self.libraries(source)

    def libraries(self, *programs: Path | str) -> None:
        loads = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout
        for library in set(re.findall(r"(/\S+\.so\S*) \(0x", loads)):
            self.add(library)

    def text(self, target: str, text: str) -> None:
        entry = self._entry(target, tarfile.REGTYPE, 0o644)
        entry.size = len(text.encode())
        self._files[entry.name] = entry, text

    def folder(self, target: str, owner: int = 0, mode: int = 0o755) -> None:
        entry = self._entry(target, tarfile.DIRTYPE, mode)
        entry.uid = entry.gid = owner
        self._files[entry.name] = entry, None

    def link(self, target: str, source: str) -> None:
        entry = self._entry(target, tarfile.SYMTYPE, 0o777)
        entry.linkname = source
        self._files[entry.name] = entry, None

    @staticmethod
    def _entry(target: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        # /lib and its like are links into /usr.
        target = re.sub(r"^/(bin|sbin|lib|lib64)/", r"/usr/\1/", target)
        entry = tarfile.TarInfo(target.lstrip("/"))
        entry.type, entry.mode = kind, mode
        return entry

    def write(self, stream) -> None:
        """Writes them as an archive."""
        with tarfile.open(fileobj=stream, mode="w|", bufsize=MIB, copybufsize=MIB) as archive:
            for entry, source in self._files.values():
                if isinstance(source, Path):
                    with open(source, "rb") as file:
                        archive.addfile(entry, file)
                else:
                    archive.addfile(entry, io.BytesIO(source.encode()) if source else None)


def _common() -> Files:
    """Files of the servers' images."""
    files = Files()
    files.add(fetch.docker() / "busybox", "/usr/bin/busybox")
    for applet in APPLETS:
        files.link(f"/usr/bin/{applet}", "busybox")
    return files


def _busybox():
    files = _common()
    files.program(fetch.docker() / "tcpsvd", "/usr/bin/tcpsvd")
    return files, ["CMD sh"]


def _python(files: Files) -> None:
    """Adds the Python that runs this."""
    program, library = os.path.realpath(sys.executable), Path(sysconfig.get_path("stdlib"))
    files.program(program)
    files.link("/usr/bin/python3", program)
    files.add(library, without=LEFT_OUT)
    files.libraries(*library.glob("lib-dynload/*.so"))


def _debian() -> tuple[Files, list[str]]:
    files = Files()
    for program in ("dash", "tr", "cat"):
        files.program(program)
    files.link("/usr/bin/sh", "dash")
    # As there: the C library, and what gcc needs at run time.
    owned = subprocess.check_output(["dpkg-query", "--listfiles", "libc6", "libgcc-s1"], text=True)
    for path in re.findall(r"^\S+\.so\.\d+$", owned, re.M):
        files.add(path)
    return files, ["CMD bash"]


def _nats():
    files = _common()
    files.program(fetch.nats_server(), "/usr/bin/nats-server")
    return files, ['ENTRYPOINT ["nats-server"]']


def _redis():
    files = _common()
    files.program("redis-server")
    files.program("redis-cli")
    return files, ["USER 999:1000"]


def _prometheus():
    files = _common()
    files.program(fetch.prometheus() / "prometheus", "/usr/bin/prometheus")
    files.folder("/prometheus", NOBODY)
    return files, [f"USER {NOBODY}", "VOLUME /prometheus", 'ENTRYPOINT ["prometheus"]']


def _grafana():
    files = _common()
    files.add(STANDINS / "grafana", "/run.sh")
    files.folder("/var/lib/grafana", 472)
    return files, ["USER 472", 'ENTRYPOINT ["/run.sh"]']


def _surveyor():
    files = _common()
    _python(files)
    files.add(STANDINS / "surveyor.py", "/nats-surveyor")
    return files, ['ENTRYPOINT ["/nats-surveyor"]']


def _clickhouse():
    files = _common()
    _python(files)
    files.program(fetch.clickhouse().path, "/usr/lib/libchdb.so")
    for module in ("serve.py", "fetch.py", "common.py"):
        files.add(LOCAL / module, f"/usr/local/lib/clickhouse/{module}")
    files.add(STANDINS / "clickhouse.py", "/usr/local/lib/clickhouse/clickhouse.py")
    for name in ("clickhouse-server", "clickhouse-client"):
        files.link(f"/usr/bin/{name}", "../local/lib/clickhouse/clickhouse.py")
    files.text("/etc/clickhouse-server/users.xml", "<clickhouse/>\n")
    files.folder("/var/lib/clickhouse", 101)
    return files, ["USER 101", "VOLUME /var/lib/clickhouse", 'ENTRYPOINT ["clickhouse-server"]']


def _rust(binary: Path | None):
    """Returns cargo as a stand-in that hands out a program which is built already, or, without
    one, this machine's toolchain with the dependencies, which the build cannot download."""
    files, _ = _debian()
    files.program("cp")
    files.add(CERTIFICATES)
    if binary:
        files.program("mkdir")
        files.add(binary, "/prebuilt/risksignal")
        files.add(STANDINS / "cargo", "/usr/local/bin/cargo")
        return files, ["ENV LANG=C"]
    return _toolchain(files)


def _toolchain(files: Files):
    run = lambda *words: subprocess.check_output(words, text=True, cwd=REPOSITORY)  # noqa: E731
    sysroot = Path(run("rustc", "--print", "sysroot").strip())
    for part in ("bin/cargo", "bin/rustc", "lib"):
        files.add(sysroot / part, f"/usr/local/{part}")
    wanted = run("apt-cache", "depends", "--recurse", "--installed", "--no-recommends",
                 "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
                 "--no-enhances", "gcc", "libc6-dev")  # fmt: skip
    packages = sorted(set(re.findall(r"^\w\S*", wanted, re.M)))
    for path in run("dpkg-query", "--listfiles", *packages).splitlines():
        if path.startswith(TOOLCHAIN) and os.path.isfile(path):
            files.add(path)
    # An alternative, which no package lists.
    files.link("/usr/bin/cc", "gcc")
    run("cargo", "vendor", "--quiet", "--locked", VENDOR)
    files.add(VENDOR, "/usr/local/cargo/vendor")
    files.text("/usr/local/cargo/config.toml", VENDORED)
    return files, ["ENV CARGO_HOME=/usr/local/cargo"]


def named() -> list[str]:
    """Returns the images that docker-compose.yml and the Dockerfiles name."""
    files = [REPOSITORY / "docker-compose.yml", *REPOSITORY.glob("infra/docker/*Dockerfile")]
    texts = "".join(file.read_text() for file in files)
    return sorted(set(re.findall(r"^(?:FROM|\s+image:) (\S+:\S+)", texts, re.M)))


def load(engine: Engine, binary: Path | None) -> None:
    """Loads a stand-in of every image into the engine."""
    stand_ins = {
        "busybox": _busybox,
        "clickhouse/clickhouse-server": _clickhouse,
        "debian": _debian,
        "grafana/grafana": _grafana,
        "nats": _nats,
        "natsio/nats-surveyor": _surveyor,
        "prom/prometheus": _prometheus,
        "redis": _redis,
        "rust": lambda: _rust(binary),
    }

    def load_one(image: str) -> None:
        files, changes = stand_ins[image.partition(":")[0]]()
        options = " ".join(f"--change {shlex.quote(change)}" for change in changes)
        engine.feed(f"docker import {options} - {image}", files.write)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(load_one, named()))
