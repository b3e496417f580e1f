"""The examples, built and run as a user would, against real servers. Finds their signals in
ClickHouse, and their pages in a real Chromium. The binary is the one of `cargo test`.

    infra/test examples
"""

import contextlib
import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LOCAL = REPOSITORY / "infra" / "local"
sys.path.insert(0, str(LOCAL))

from supervise import CLICKHOUSE_PASSWORD, CLICKHOUSE_USER, HOST  # noqa: E402
from testing import answers, free_ports, query, until  # noqa: E402

EXAMPLES = Path(__file__).parent
CONTRACTS = REPOSITORY / "infra" / "clients" / "typescript"
NEXTJS = EXAMPLES / "nextjs"
NODE = EXAMPLES / "node"
SUPABASE = EXAMPLES / "supabase-edge-function"
BINARY = REPOSITORY / "target" / "debug" / "risksignal"
NEEDED = ("node", "npm", "chromium", "redis-server")
# A folder for pictures of the page.
SHOTS = os.environ.get("RISKSIGNAL_SHOTS")
# 2^256 - 1, digits beyond a double, and text that a JSON parser would rewrite.
HARD = '{"chain":"ethereum","hash":"0x%s","from":"0x%s","amount":115792089237316195423570985008687907853269984665640564039457584007913129639935,"ratio":1.50e+3,"note":"Zoë 🦀 \\u0041 \\"q\\"","more":{"a":[0.10,-0]}}'
WALLET = "0x" + "ab" * 20


def run(*command: str | Path, folder: Path, environment: dict | None = None, text: str = "") -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", "CI": "true", **(environment or {})},
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} in {folder}: {done.stdout}{done.stderr}")
    return done.stdout


def install(folder: Path) -> None:
    run("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", folder=folder)


def post(url: str, body: str, **headers: str) -> tuple[int, dict]:
    headers = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def signal(payload: str, **fields: object) -> str:
    """Returns a signal with this payload, unchanged."""
    fields = {
        "event_time": datetime.now(timezone.utc).isoformat(),
        "source_id": "examples",
        "event_type": "transaction",
        "severity": 4,
        "trace_id": str(uuid.uuid4()),
        "wallet_address": WALLET,
        **fields,
    }
    return json.dumps(fields, ensure_ascii=False)[:-1] + f',"payload":{payload}}}'


def hard(digit: str) -> str:
    return HARD % (digit * 64, digit * 40)


class Servers:
    """NATS, ClickHouse, Redis, and the daemon, which serves over HTTP too."""

    def __init__(self, stack: contextlib.ExitStack):
        self.stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.nats, monitor, self.clickhouse, native, serve, redis = free_ports(6)
        local = [sys.executable, LOCAL / "stack", "serve"]
        data = ["--die-with-parent", "--data"]
        ports = ["--port", self.nats, "--http-port", monitor]
        self.start("nats", *local, "nats", *data, self.folder / "nats", *ports)
        ports = ["--port", native, "--http-port", self.clickhouse]
        self.start("clickhouse", *local, "clickhouse", *data, self.folder / "clickhouse", *ports)
        cache = ["redis-server", "--bind", HOST, "--port", redis, "--save", "", "--appendonly", "no"]
        self.start("redis", *cache)
        until(lambda: answers(self.clickhouse))
        self.tokens = {scope: self.token(scope) for scope in ("ingest", "read")}
        self.url = f"http://{HOST}:{serve}"
        self.start(
            "risksignal",
            BINARY,
            "run",
            NATS_URL=f"nats://{HOST}:{self.nats}",
            CLICKHOUSE_URL=f"http://{HOST}:{self.clickhouse}",
            CLICKHOUSE_USER=CLICKHOUSE_USER,
            CLICKHOUSE_PASSWORD=CLICKHOUSE_PASSWORD,
            REDIS_URL=f"redis://{HOST}:{redis}",
            RISKSIGNAL__OPS__LISTEN="off",
            RISKSIGNAL__SERVE__WITH_RUN="true",
            RISKSIGNAL__SERVE__LISTEN=f"{HOST}:{serve}",
            RISKSIGNAL__SERVE__TOKENS_FILE=str(self.folder / "tokens.toml"),
        )
        until(lambda: "Keeping the cache in Redis" in self.log("risksignal"))

    def token(self, scope: str) -> str:
        made = subprocess.run(
            [BINARY, "serve", "token", scope, "--scope", scope],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        with (self.folder / "tokens.toml").open("a") as file:
            file.write(made.stdout)
        return made.stderr.split()[-1]

    def start(self, name: str, *command: object, folder: Path | None = None, **environment: str):
        """Starts a process that ends with the tests."""
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder or self.folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def rows(self, where: str) -> list[dict]:
        sql = f"SELECT *, toString(trace_id) AS trace FROM risksignal.raw_signals WHERE {where} ORDER BY stream_seq FORMAT JSONEachRow"
        return [json.loads(line) for line in query(self.clickhouse, sql).splitlines()]

    def row(self, trace_id: str) -> dict:
        """Returns the one row of a trace, once inserted. Its payload satisfies its type's contract."""
        (row,) = until(lambda: self.rows(f"trace_id = '{trace_id}'"))
        if row["payload_faults"]:
            raise AssertionError(f"{row['payload']}: {row['payload_faults']}")
        return row


servers: Servers


def setUpModule():
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing:
        raise unittest.SkipTest(f"not installed: {missing}")
    global servers
    stack = contextlib.ExitStack()
    unittest.addModuleCleanup(stack.close)
    servers = Servers(stack)


class Tls:
    """A nats-server that requires TLS, with the stream. Its certificate is its own CA."""

    def __init__(self):
        folder = servers.folder / "tls"
        folder.mkdir()
        self.ca = folder / "cert.pem"
        run(
            *["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            *["-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"],
            *["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}"],
            *["-addext", "basicConstraints=critical,CA:FALSE"],
            folder=folder,
        )
        config = folder / "nats.conf"
        pair = f'cert_file: "{self.ca}", key_file: "{folder}/key.pem"'
        config.write_text(f"jetstream {{}}\ntls {{ {pair} }}\n")
        (port,) = free_ports(1)
        self.url = f"tls://{HOST}:{port}"
        local = [sys.executable, LOCAL / "stack", "serve", "nats", "--die-with-parent"]
        data = ["--data", folder / "nats"]
        servers.start("nats-tls", *local, *data, "--port", port, "--config", config)
        until(lambda: "Server is ready" in servers.log("nats-tls"))
        # Creates the stream, which takes the signals of the tests.
        environment = {"NATS_URL": self.url, "RISKSIGNAL__NATS__CA_FILE": str(self.ca)}
        run(BINARY, "produce", "--count=1", folder=folder, environment=environment)


@functools.cache
def tls() -> Tls:
    return Tls()


class NodeClients(unittest.TestCase):
    def test_tls_is_verified_and_never_left_out(self):
        install(NODE)
        line = signal(hard("4")) + "\n"
        for script in ("publish-nats.mjs", "publish-transport-node.mjs"):
            with self.subTest(script):
                environment = {"NATS_URL": tls().url, "NODE_EXTRA_CA_CERTS": str(tls().ca)}
                told = run("node", script, folder=NODE, environment=environment, text=line)
                self.assertIn(json.loads(line)["trace_id"], told)
                with self.assertRaisesRegex(AssertionError, "self-signed certificate"):
                    run("node", script, folder=NODE, environment={"NATS_URL": tls().url}, text=line)
                plain = {"NATS_URL": f"tls://{HOST}:{servers.nats}"}
                with self.assertRaisesRegex(AssertionError, "server does not support 'tls'|SERVER_OPT_NA"):
                    run("node", script, folder=NODE, environment=plain, text=line)

    def test_the_old_and_the_new_form_reach_clickhouse_unchanged(self):
        install(NODE)
        for script in ("publish-nats.mjs", "publish-transport-node.mjs"):
            with self.subTest(script):
                spaced = '{ "chain" : "solana" ,\t"hash":"%s","from":"%s","amount":"1" }' % ("5" * 64, "5" * 32)
                payloads = [hard("1"), spaced, hard("2")]
                sent = [signal(payload) for payload in payloads]
                environment = {"NATS_URL": f"nats://{HOST}:{servers.nats}"}
                lines = "\n".join(sent) + "\n"
                told = run("node", script, folder=NODE, environment=environment, text=lines)
                acked = [line.split() for line in told.splitlines()]
                self.assertEqual(len(acked), len(sent))
                for (trace, sequence), text, payload in zip(acked, sent, payloads):
                    self.assertEqual(json.loads(text)["trace_id"], trace)
                    row = servers.row(trace)
                    self.assertEqual(row["payload"], payload)
                    self.assertEqual(int(row["stream_seq"]), int(sequence))


class Supabase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        install(SUPABASE)
        cls.deno = SUPABASE / "node_modules" / ".bin" / "deno"
        # Deno fetches the function's imports from npm's registry.
        registry = run("npm", "config", "get", "registry", folder=SUPABASE).strip()
        cls.environment = {
            "NPM_CONFIG_REGISTRY": registry,
            "POLICY_BLOCKED": "0x" + "BA" * 20,
            "POLICY_LIMIT": "1" + "0" * 24,
        }

    def serve(self, name: str, **more: str) -> str:
        (port,) = free_ports(1)
        serve = [self.deno, "run", "--allow-net", "--allow-env", "--allow-sys", "--allow-read", "index.ts"]
        environment = {"DENO_SERVE_ADDRESS": f"tcp:{HOST}:{port}", **self.environment, **more}
        servers.start(name, *serve, folder=SUPABASE / "policy-checker", **environment)
        until(lambda: "Listening on" in servers.log(name))
        return f"http://{HOST}:{port}"

    def test_its_types_are_right(self):
        folder = SUPABASE / "policy-checker"
        run(self.deno, "check", "index.ts", folder=folder, environment=self.environment)

    def test_what_it_decides_is_a_risk_event_in_clickhouse(self):
        ways = {
            "nats": {"NATS_URL": f"nats://{HOST}:{servers.nats}"},
            "http": {"RISKSIGNAL_URL": servers.url, "RISKSIGNAL_TOKEN": servers.tokens["ingest"]},
        }
        for name, environment in ways.items():
            with self.subTest(name):
                self.decides(self.serve(f"policy-checker-{name}", **environment))

    def test_tls_is_verified_and_never_left_out(self):
        asked = {"chain": "ethereum", "hash": "0x" + "1" * 64, "to": "0x" + "cc" * 20, "amount": "1"}
        for name, server, ca, fault in [
            ("tls", tls().url, tls().ca.read_text(), None),
            ("tls-unknown-ca", tls().url, "", "certificate"),
            ("tls-plain-server", f"tls://{HOST}:{servers.nats}", "", "does not support 'tls'"),
        ]:
            with self.subTest(name):
                url = self.serve(f"policy-checker-{name}", NATS_URL=server, NATS_CA=ca)
                status, told = post(url, json.dumps({**asked, "wallet_address": WALLET}))
                log = servers.log(f"policy-checker-{name}")
                self.assertEqual(status, 503 if fault else 200, f"{told} {log}")
                self.assertIn(fault or "", log)

    def decides(self, url: str):
        # One more than the limit, the same number as a double.
        over = "1" + "0" * 23 + "1"
        for to, amount, allowed, severity, reasons in [
            ("0x" + "cc" * 20, "1" + "0" * 24, True, 0, []),
            ("0x" + "cc" * 20, over, True, 3, ["over_limit"]),
            ("0x" + "ba" * 20, over, False, 5, ["blocked_counterparty", "over_limit"]),
        ]:
            asked = {"chain": "ethereum", "hash": "0x" + "1" * 64, "to": to, "amount": amount}
            status, told = post(url, json.dumps({**asked, "wallet_address": WALLET}))
            self.assertEqual(status, 200, told)
            self.assertEqual((told["allowed"], told["reasons"]), (allowed, reasons))
            row = servers.row(told["trace_id"])
            self.assertEqual(row["event_type"], "risk_event")
            self.assertEqual(int(row["stream_seq"]), told["sequence"])
            self.assertEqual((row["severity"], row["wallet_address"]), (severity, WALLET))
            payload = json.loads(row["payload"])
            self.assertEqual((payload["reasons"], payload["amount"]), (reasons, amount))
        chains = "chain must be one of arbitrum, base, bitcoin, ethereum, solana"
        for chain, hash, amount, fault in [
            ("ethereum", "0x" + "1" * 64, 1.5, "amount must be a string of digits"),
            ("ethereum", "x", "1", "hash must be a transaction's on ethereum"),
            ("Ethereum", "0x" + "1" * 64, "1", chains),
            ("toString", "0x" + "1" * 64, "1", chains),
        ]:
            status, told = post(url, json.dumps({"chain": chain, "hash": hash, "amount": amount}))
            self.assertEqual((status, told), (400, {"error": fault}))


class Nextjs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        install(CONTRACTS)
        run("npm", "run", "build", folder=CONTRACTS)
        install(NEXTJS)
        run("npm", "run", "build", folder=NEXTJS)
        cls.url = cls.serve("nextjs", **servers.tokens)

    @staticmethod
    def serve(name: str, ingest: str, read: str) -> str:
        (port,) = free_ports(1)
        servers.start(
            name,
            *["node", NEXTJS / "node_modules" / "next" / "dist" / "bin" / "next"],
            *["start", "--hostname", HOST, "--port", port],
            folder=NEXTJS,
            NEXT_TELEMETRY_DISABLED="1",
            NATS_URL=f"nats://{HOST}:{servers.nats}",
            RISKSIGNAL_URL=servers.url,
            RISKSIGNAL_INGEST_TOKEN=ingest,
            RISKSIGNAL_READ_TOKEN=read,
        )
        until(lambda: "Ready in" in servers.log(name))
        return f"http://{HOST}:{port}"

    def test_a_token_that_is_not_set_is_named(self):
        """As in a copy of .env.example."""
        url = self.serve("nextjs-without-tokens", ingest="", read="")
        status, told = post(f"{url}/api/ingest-http", signal("{}", event_type="note"))
        self.assertEqual(status, 500)
        self.assertIn("RISKSIGNAL_INGEST_TOKEN is not set", told["errors"][0]["detail"])
        with self.assertRaisesRegex(urllib.error.HTTPError, "500"):
            urllib.request.urlopen(f"{url}/wallets/{WALLET}", timeout=30)
        self.assertIn("RISKSIGNAL_READ_TOKEN is not set", servers.log("nextjs-without-tokens"))

    def test_both_routes_reach_clickhouse_unchanged(self):
        for number, route in enumerate(("ingest", "ingest-http")):
            with self.subTest(route):
                # The route reads a text's escapes and writes the text.
                payload = hard(str(number)).replace("\\u0041", "A")
                sent = signal(payload)
                status, told = post(f"{self.url}/api/{route}", sent)
                self.assertEqual(status, 202, told)
                row = servers.row(json.loads(sent)["trace_id"])
                self.assertEqual(row["payload"], payload)
                # The answer to a retry depends on the route; the signal is stored once with either.
                status, _ = post(f"{self.url}/api/{route}", sent)
                self.assertEqual(status, 202)
                # Fields that a server knows may be omitted.
                bare = {"event_type": "note", "severity": 1, "payload": {"route": route}}
                status, told = post(f"{self.url}/api/{route}", json.dumps(bare))
                self.assertEqual(status, 202, told)
                trace = told["trace_id"] if route == "ingest" else told["results"][0]["trace_id"]
                self.assertEqual(servers.row(trace)["source_id"], "nextjs")
                self.assertEqual(len(servers.rows(f"trace_id = '{json.loads(sent)['trace_id']}'")), 1)

    def test_both_routes_refuse_and_name_the_fields(self):
        bad = signal('{"rule":"r","score":1.5}', event_type="risk_event", severity=-1)
        for route in ("ingest", "ingest-http"):
            with self.subTest(route):
                status, told = post(f"{self.url}/api/{route}", bad)
                self.assertEqual(status, 422)
                pointers = {error["pointer"] for error in told["errors"]}
                self.assertEqual(pointers, {"#/severity", "#/payload/score"})
                status, told = post(f"{self.url}/api/{route}", "{")
                self.assertEqual((status, told["errors"][0]["pointer"]), (422, "#"))
        self.assertEqual(servers.rows(f"trace_id = '{json.loads(bad)['trace_id']}'"), [])

    def test_the_page_shows_the_wallet(self):
        wallet = "0x" + uuid.uuid4().hex + "c0ffee00"
        wei = 2**256 - 1
        now = datetime.now(timezone.utc)
        sent = [
            (f'{{"chain":"ethereum","balances":{{"WEI":{wei},"USDC":"0.10"}}}}', "wallet_snapshot", 0, 2),
            ('{"chain":"ethereum","balances":{"WEI":1}}', "wallet_snapshot", 0, 90),
            ('{"rule":"blocked_counterparty","score":0.97,"note":"Zoë 🦀 <b>"}', "risk_event", 5, 1),
            (hard("3"), "transaction", 2, 30),
        ]
        traces = []
        for number, (payload, event_type, severity, minutes) in enumerate(sent):
            time = (now - timedelta(minutes=minutes)).isoformat()
            fields = {"event_type": event_type, "severity": severity, "event_time": time}
            text = signal(payload, wallet_address=wallet, **fields)
            route = ("ingest", "ingest-http")[number % 2]
            status, told = post(f"{self.url}/api/{route}", text)
            self.assertEqual(status, 202, told)
            traces.append(json.loads(text)["trace_id"])
        for trace in traces:
            servers.row(trace)
        path = f"/wallets/{wallet}"
        hour = "Last 1h 3 0 1 2 1 5 1 risk_event 1 transaction 1 wallet_snapshot 1"
        day = "Last 24h 4 0 2 2 1 5 1 risk_event 1 transaction 1 wallet_snapshot 2"
        # The daemon updates Redis right after ClickHouse has answered.
        page = until(lambda: (text := self.text(path)) and day in text and text)
        self.assertIn(hour, page)
        # The later of both snapshots, digit by digit.
        self.assertIn(f"WEI {wei} USDC 0.10 As of", page)
        for trace in traces:
            self.assertIn(trace, page)
        self.assertIn('"note": "Zoë 🦀 <b>"', page)
        self.assertLess(page.index(traces[2]), page.index(traces[0]), "the newest first")
        self.shoot("wallet", path)

    def test_an_unknown_wallet_and_an_odd_one_are_no_error(self):
        with self.assertRaisesRegex(urllib.error.HTTPError, "404"):
            urllib.request.urlopen(f"{self.url}/wallets/0xnobody", timeout=30)
        self.assertIn("No signal has named this wallet", self.text("/wallets/0xnobody"))
        self.shoot("unknown", "/wallets/0xnobody")
        odd = "0xÄ/%2F?#&'\" <b> 🦀"
        sent = signal('{"rule":"r","score":0.5}', wallet_address=odd, event_type="risk_event")
        self.assertEqual(post(f"{self.url}/api/ingest", sent)[0], 202)
        trace = json.loads(sent)["trace_id"]
        servers.row(trace)
        page = self.text("/wallets/" + urllib.parse.quote(odd, safe=""))
        self.assertIn(f"Wallet {odd} First seen", page)
        self.assertIn(trace, page)

    def test_no_token_reaches_a_browser(self):
        files = [file for file in (NEXTJS / ".next" / "static").rglob("*") if file.is_file()]
        self.assertTrue(files)
        texts = [file.read_bytes() for file in files]
        texts.append(self.dom(f"/wallets/{WALLET}").encode())
        for text in texts:
            for secret in (*servers.tokens.values(), "RISKSIGNAL_READ_TOKEN"):
                self.assertNotIn(secret.encode(), text)

    def chromium(self, *arguments: str, path: str) -> str:
        with tempfile.TemporaryDirectory() as profile:
            return run(
                "chromium",
                *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"],
                *["--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"],
                *["--disable-component-update", "--disable-sync", f"--user-data-dir={profile}"],
                *arguments,
                self.url + path,
                folder=servers.folder,
            )

    def dom(self, path: str) -> str:
        """Returns a page's document in the browser."""
        return self.chromium("--dump-dom", "--virtual-time-budget=5000", path=path)

    def text(self, path: str) -> str:
        """Returns a page's text, with a space between any two words."""
        body = re.search(r"<body.*?</body>", self.dom(path), re.S)[0]
        body = re.sub(r"<script.*?</script>|<style.*?</style>", "", body, flags=re.S)
        return " ".join(html.unescape(re.sub(r"<!-- -->|<[^>]*>", " ", body)).split())

    def shoot(self, name: str, path: str):
        """Takes a picture of a page, if pictures are requested."""
        if SHOTS:
            file = Path(SHOTS).absolute() / f"{name}.png"
            size = "--window-size=1200,1000"
            self.chromium(f"--screenshot={file}", size, "--virtual-time-budget=5000", path=path)


class Signal(unittest.TestCase):
    def test_the_signal_of_the_readme_lands(self):
        """Sends it like README's curl line."""
        text = (EXAMPLES / "signal.json").read_text()
        token = {"authorization": f"Bearer {servers.tokens['ingest']}"}
        status, told = post(f"{servers.url}/v1/signals", text, **token)
        self.assertEqual(status, 202, told)
        self.assertNotIn("warnings", told["results"][0])
        servers.row(json.loads(text)["trace_id"])


class Pages(unittest.TestCase):
    def test_their_code_is_that_of_the_examples(self):
        """Finds each block, word for word, in the file named in the line before it."""
        pages = sorted((REPOSITORY / "docs").glob("*.md"))
        text = "\n".join(page.read_text() for page in pages)
        blocks = re.findall(r"\(infra/examples/([^)]+)\)[^\n]*\n\n```\w+\n(.*?)```", text, re.S)
        self.assertGreaterEqual(len(blocks), 5)
        for file, block in blocks:
            self.assertIn(block, (EXAMPLES / file).read_text(), file)


if __name__ == "__main__":
    unittest.main()
