#!/usr/bin/python3
"""Stand-in of NATS Surveyor: asks the system account for statistics, and serves two of them."""

import argparse
import http.server
import json
import signal
import socket
import sys

INBOX = "_INBOX.surveyor"


def statistics(server: str, user: str, password: str) -> dict:
    host, port = server.removeprefix("nats://").split(":")
    login = json.dumps({"user": user, "pass": password, "verbose": False})
    with socket.create_connection((host, int(port)), timeout=3) as connection:
        lines = connection.makefile("rb")
        ping = f"PUB $SYS.REQ.SERVER.PING.STATSZ {INBOX} 0\r\n\r\n"
        connection.sendall(f"CONNECT {login}\r\nSUB {INBOX} 1\r\n{ping}".encode())
        for line in lines:
            if line.startswith(b"-ERR"):
                raise OSError(line.decode())
            if line.startswith(b"MSG"):
                return json.loads(lines.read(int(line.split()[-1])))
    raise OSError("the server closed the connection")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = statistics(*login)
        label = f'server_name="{answer["server"]["name"]}"'
        text = f'nats_core_connection_count{{{label}}} {answer["statsz"]["connections"]}\n'
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


parser = argparse.ArgumentParser()
for option in ("--servers", "--user", "--password", "--count"):
    parser.add_argument(option, required=True)
arguments = parser.parse_args()
login = (arguments.servers, arguments.user, arguments.password)
# The first process of a container ignores signals without a handler.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
# A wrong login ends it.
statistics(*login)
http.server.ThreadingHTTPServer(("0.0.0.0", 7777), Handler).serve_forever()
