"""Runs one server in this very process, so that its pid is the server's."""

import ctypes
import os
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import fetch
from common import INFRA, StackError

HOST = "127.0.0.1"
NATS_CONFIG = INFRA / "nats" / "nats-server.conf"
CLICKHOUSE_CONFIG_DIR = INFRA / "clickhouse" / "config.d"
CLICKHOUSE_USERS = INFRA / "clickhouse" / "users.d" / "risksignal.xml"

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Makes the kernel kill this process, and programs that it execs, when its parent ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


def nats(
    data: Path,
    port: int,
    http_port: int,
    config: Path = NATS_CONFIG,
    max_payload: str | None = None,
    is_old: bool = False,
    release: str | None = None,
) -> None:
    """Becomes a nats-server. Monitoring is off when `http_port` is 0."""
    program = _nats_program(is_old, release)
    data.mkdir(parents=True, exist_ok=True)
    # Later values win. nats-server accepts only relative paths in an include.
    lines = [
        f'include "{os.path.relpath(config, data)}"',
        f"host: {HOST}",
        f"port: {port}",
        f"http_port: {http_port}",
    ]
    if max_payload:
        lines.append(f"max_payload: {max_payload}")
    own_config = data / "nats-server.conf"
    own_config.write_text("\n".join(lines) + "\n")
    _exec([program, "--config", own_config, "--store_dir", data])


def _nats_program(is_old: bool, release: str | None) -> Path:
    if is_old:
        return fetch.old_nats_server()
    return fetch.nats_release(release) if release else fetch.nats_server()


def clickhouse(
    data: Path, port: int, http_port: int, max_memory: int = 0, users: Path = CLICKHOUSE_USERS
) -> None:
    """Becomes a ClickHouse. The native interface is off when `port` is 0; without
    `max_memory` the bound is ClickHouse's default, 90 % of the machine's memory."""
    engine = fetch.clickhouse()
    data.mkdir(parents=True, exist_ok=True)
    config = _write_clickhouse_config(data, port, http_port, max_memory, users)
    if engine.is_library:
        run_libchdb(engine.path, config, data, native=port != 0)
    # On the command line, since libchdb must not see a <logger> in the configuration.
    log = ["--", "--logger.console=1", "--logger.level=information"]
    _exec([engine.path, "server", f"--config-file={config}", *log])


def _exec(command: list) -> None:
    sys.stdout.flush()
    os.execv(command[0], [str(part) for part in command])


def _write_clickhouse_config(
    data: Path, port: int, http_port: int, max_memory: int, users: Path
) -> Path:
    """Writes the settings of this one server. ClickHouse merges the shared config.d next to
    this file, and reads the shared users itself."""
    values = {
        "listen_host": HOST,
        "http_port": http_port,
        "tcp_port": port,
        "path": f"{data}/data/",
        "tmp_path": f"{data}/tmp/",
        "user_files_path": f"{data}/user_files/",
        "format_schema_path": f"{data}/format_schemas/",
        "users_config": users,
        "max_server_memory_usage": max_memory,
    }
    # ClickHouse takes a zero as a port, not as none.
    lines = [
        f"    <{key}>{escape(str(value))}</{key}>\n"
        for key, value in values.items()
        if value != 0
    ]
    config = data / "config.xml"
    config.write_text(f"<clickhouse>\n{''.join(lines)}</clickhouse>\n")
    shared = data / "config.d"
    shared.unlink(missing_ok=True)
    shared.symlink_to(CLICKHOUSE_CONFIG_DIR)
    return config


def startup_queries() -> list[str]:
    """Returns the statements that a ClickHouse server runs at start, unlike the library."""
    return [
        query.text
        for file in sorted(CLICKHOUSE_CONFIG_DIR.glob("*.xml"))
        for query in ElementTree.parse(file).findall("startup_scripts/scripts/query")
    ]


def run_libchdb(library: Path, config: Path, data: Path, native: bool) -> None:
    """Runs clickhouse-local with its listeners on, in a query that does not end."""
    statements = [
        *startup_queries(),
        "SYSTEM START LISTEN HTTP",
        *(["SYSTEM START LISTEN TCP"] if native else []),
        "SELECT sleepEachRow(3) FROM numbers(1000000000) FORMAT Null SETTINGS"
        " function_sleep_max_microseconds_per_block = 0, max_block_size = 1",
    ]
    arguments = [
        "clickhouse-local",
        f"--config-file={config}",
        f"--path={data}/data",
        f"--query={'; '.join(statements)}",
    ]
    # Python would delay an interrupt until the call below returns.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    chdb = ctypes.CDLL(str(library))
    chdb.chdb_query_cmdline.restype = ctypes.c_void_p
    chdb.chdb_result_error.restype = ctypes.c_char_p
    chdb.chdb_result_error.argtypes = [ctypes.c_void_p]
    argv = (ctypes.c_char_p * (len(arguments) + 1))(*map(str.encode, arguments), None)
    result = chdb.chdb_query_cmdline(len(arguments), argv)
    # Without an error here, libchdb has written it to stderr itself.
    error = chdb.chdb_result_error(result) or b"see above"
    raise StackError(f"ClickHouse ended: {error.decode(errors='replace')}")
