#!/usr/bin/python3
"""Stand-in of ClickHouse's programs: libchdb with the configuration of the image's paths
(clickhouse-server), and a client over HTTP (clickhouse-client)."""

import argparse
import base64
import os
import re
import shutil
import signal
import sys
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import serve  # noqa: E402

CONFIG = Path("/etc/clickhouse-server")
DATA = Path("/var/lib/clickhouse")
MAIN = f"""<clickhouse>
    <listen_host>0.0.0.0</listen_host>
    <http_port>8123</http_port>
    <tcp_port>9000</tcp_port>
    <path>{DATA}/data/</path>
    <tmp_path>{DATA}/tmp/</tmp_path>
    <user_files_path>{DATA}/user_files/</user_files_path>
    <format_schema_path>{DATA}/format_schemas/</format_schema_path>
    <users_config>users.xml</users_config>
</clickhouse>
"""


def server() -> None:
    if child := os.fork():
        wait(child)
    config = Path("/tmp/clickhouse-server")
    shutil.rmtree(config, ignore_errors=True)
    shutil.copytree(CONFIG, config)
    (config / "config.xml").write_text(MAIN)
    # libchdb must not see a <logger>.
    for file in config.glob("config.d/*.xml"):
        tree = ElementTree.parse(file)
        for logger in tree.findall("logger"):
            tree.getroot().remove(logger)
        tree.write(file)
    serve.CLICKHOUSE_CONFIG_DIR = config / "config.d"
    serve.run_libchdb(Path("/usr/lib/libchdb.so"), config / "config.xml", DATA, native=True)


def wait(child: int) -> None:
    """Waits for the server: the first process of a container ignores signals without a handler."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(code if code >= 0 else 0)


def client() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    parser.add_argument("--query")
    arguments = parser.parse_args()
    login = base64.b64encode(f"{arguments.user}:{arguments.password}".encode()).decode()
    script = re.sub(r"^--.*\n", "", arguments.query or sys.stdin.read(), flags=re.M)
    for query in filter(str.strip, script.split(";")):
        request = urllib.request.Request("http://127.0.0.1:8123/", query.encode())
        request.add_header("Authorization", f"Basic {login}")
        with urllib.request.urlopen(request) as answer:
            sys.stdout.write(answer.read().decode())


if __name__ == "__main__":
    {"clickhouse-server": server, "clickhouse-client": client}[Path(sys.argv[0]).name]()
