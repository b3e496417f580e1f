"""Checks of docker-compose.yml and the Dockerfiles that need no engine.

    infra/test compose
"""

import hashlib
import re
import sys
import tomllib
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "local"))

import serve  # noqa: E402
from common import INFRA, REPOSITORY  # noqa: E402
from supervise import CLICKHOUSE_PASSWORD, CLICKHOUSE_USER  # noqa: E402

try:
    import yaml
except ImportError:
    yaml = None

DOCKERFILE = (INFRA / "docker" / "Dockerfile").read_text()
SERVERS = (INFRA / "docker" / "servers.Dockerfile").read_text()


def copies(stage: str) -> dict[Path, str]:
    """Returns the files that the stage copies, with their targets."""
    _, _, text = SERVERS.partition(f" AS {stage}\n")
    lines = re.findall(r"^COPY --chmod=644 (.*) (\S+)$", text.partition("\nFROM")[0], re.M)
    found = {}
    for sources, target in lines:
        for source in (path for word in sources.split() for path in REPOSITORY.glob(word)):
            found[source] = f"{target}{source.name}" if target.endswith("/") else target
    return found


@unittest.skipUnless(yaml, "needs PyYAML (Debian's python3-yaml)")
class File(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
        cls.services = cls.compose["services"]

    def test_it_mounts_volumes_alone(self):
        """A file would be unreadable in a checkout under umask 077, and absent on another host."""
        for service in self.services.values():
            for mount in service.get("volumes", []):
                self.assertIn(mount.partition(":")[0], self.compose["volumes"])

    def test_it_shares_its_configuration_with_the_local_stack(self):
        self.assertIn(serve.NATS_CONFIG, copies("nats"))
        self.assertIn(serve.CLICKHOUSE_USERS, copies("clickhouse"))
        for file in serve.CLICKHOUSE_CONFIG_DIR.iterdir():
            self.assertIn(file, copies("clickhouse"))
            self.assertNotIn("<logger>", re.sub(r"<!--.*?-->", "", file.read_text(), flags=re.S))

    def test_the_daemon_logs_in_as_the_local_stack_does(self):
        environment = self.services["ingest"]["environment"]
        self.assertEqual(environment["CLICKHOUSE_USER"], CLICKHOUSE_USER)
        self.assertEqual(environment["CLICKHOUSE_PASSWORD"], CLICKHOUSE_PASSWORD)
        (query,) = serve.startup_queries()
        self.assertTrue(query.endswith(f" {environment['CLICKHOUSE_DATABASE']}"), query)

    def test_redis_is_a_cache_that_the_daemon_does_not_wait_for(self):
        redis, ingest = self.services["redis"], self.services["ingest"]
        (program, *words) = redis["command"]
        self.assertEqual(program, "redis-server")
        options = dict(zip(words[::2], words[1::2], strict=True))
        password = ingest["environment"]["RISKSIGNAL__CACHE__PASSWORD"]
        memory = int(options.pop("--maxmemory").removesuffix("mb"))
        self.assertLessEqual(memory, 0.8 * int(redis["mem_limit"].removesuffix("m")))
        expected = {
            "--save": "",
            "--appendonly": "no",
            "--requirepass": password,
            "--maxmemory-policy": "volatile-lru",
        }
        self.assertEqual(options, expected)
        self.assertNotIn("volumes", redis)
        self.assertEqual(redis["environment"], {"REDISCLI_AUTH": password})
        self.assertEqual(ingest["environment"]["REDIS_URL"], "redis://redis:6379")
        waits = {"condition": "service_started", "required": False}
        self.assertEqual(ingest["depends_on"]["redis"], waits)

    def test_ports_are_published_on_loopback_and_move(self):
        """The servers there have development passwords or none."""
        guide = (REPOSITORY / "docs" / "docker.md").read_text()
        port_form = re.compile(r"127\.0\.0\.1:\$\{(RISKSIGNAL_DOCKER_\w+_PORT):-(\d+)\}:\d+")
        for name, service in self.services.items():
            self.assertNotIn("network_mode", service, name)
            for port in service.get("ports", []):
                variable, number = port_form.fullmatch(port).groups()
                self.assertRegex(guide, rf"\| {number} \|.*`{variable}`")
        # `--scale` could not start a second one.
        self.assertNotIn("ports", self.services["ingest"])

    def test_images_are_pinned(self):
        images = [s["image"] for s in self.services.values() if "image" in s]
        stages = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE + SERVERS, re.M)
        self.assertGreater(len(stages), 5)
        for image in images + stages:
            # Debian's point releases have two numbers.
            self.assertRegex(image, r":v?\d+\.\d+(\.\d+)*(-[a-z]+)*$")

    def test_every_service_restarts_and_rotates_its_log(self):
        for name, service in self.services.items():
            self.assertEqual(service["restart"], "unless-stopped", name)
            self.assertIn("max-size", service["logging"]["options"], name)

    def test_every_service_has_limits(self):
        for name, service in self.services.items():
            self.assertRegex(service["mem_limit"], r"^\d+[mg]$", name)
            # No swap.
            self.assertEqual(service["memswap_limit"], service["mem_limit"], name)
            self.assertLess(service["pids_limit"], 10_000, name)
            # An engine that may not raise a limit does not start the container.
            self.assertNotIn("ulimits", service, name)

    def test_a_service_that_starts_is_asked_often(self):
        checks = [s["healthcheck"] for s in self.services.values() if "healthcheck" in s]
        self.assertGreater(len(checks), 3)
        for check in checks:
            self.assertEqual(check["start_interval"], "500ms")
        self.assertIn("--start-interval=500ms", DOCKERFILE)

    def test_the_daemon_is_confined(self):
        for name in ("ingest", "serve", "page"):
            service = self.services[name]
            self.assertTrue(service["read_only"])
            self.assertEqual(service["cap_drop"], ["ALL"])
            self.assertIn("no-new-privileges:true", service["security_opt"])

    def test_the_public_token_is_in_the_image_of_development_alone(self):
        tokens = tomllib.loads((INFRA / "docker" / "tokens.toml").read_text())
        (token,) = tokens["token"]
        self.assertEqual(token["sha256"], hashlib.sha256(CLICKHOUSE_PASSWORD.encode()).hexdigest())
        before, _, after = DOCKERFILE.partition("FROM daemon AS development\n")
        self.assertNotIn("tokens.toml", before)
        # The last stage is the image without a target.
        self.assertEqual(DOCKERFILE.strip().splitlines()[-1], "FROM daemon")
        self.assertEqual(after.count("tokens.toml"), 2)

    def test_a_build_needs_no_frontend_from_a_registry(self):
        self.assertNotIn("syntax=", DOCKERFILE + SERVERS)

    def test_prometheus_reaches_the_daemon(self):
        ingest = self.services["ingest"]
        config = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text())
        daemon, clickhouse = config["scrape_configs"]
        port = ingest["environment"]["RISKSIGNAL__OPS__LISTEN"].rpartition(":")[2]
        # The name has an address for each instance.
        (discovery,) = daemon["dns_sd_configs"]
        self.assertEqual((discovery["names"], discovery["type"]), (["ingest"], "A"))
        self.assertEqual(discovery["port"], int(port))
        token = ingest["environment"]["RISKSIGNAL__OPS__TOKEN"]
        self.assertEqual(daemon["authorization"]["credentials"], token)
        self.assertEqual(clickhouse["static_configs"], [{"targets": ["clickhouse:8123"]}])
        for name in ("prometheus", "grafana"):
            self.assertEqual(self.services[name]["profiles"], ["monitoring"])
        rules = {file.name for file in copies("prometheus")}
        self.assertTrue(rules.issuperset(config["rule_files"]))

    def test_the_pages_for_operators_have_every_alert(self):
        rules = (INFRA / "prometheus" / "rules.yml").read_text()
        alerts = re.findall(r"- alert: (\w+)", rules)
        runbook = (REPOSITORY / "docs" / "runbook.md").read_text()
        self.assertGreater(len(alerts), 5)
        self.assertEqual(alerts, re.findall(r"^### (\w+)$", runbook, re.MULTILINE))
        monitoring = (REPOSITORY / "docs" / "monitoring.md").read_text()
        self.assertEqual(alerts, re.findall(r"^\| \[`(\w+)`\]", monitoring, re.MULTILINE))

    def test_grafana_finds_its_data_source_and_its_dashboards(self):
        files = {target: source for source, target in copies("grafana").items()}
        provisioned = "/etc/grafana/provisioning"
        source = files[f"{provisioned}/datasources/risksignal.yml"]
        (source,) = yaml.safe_load(source.read_text())["datasources"]
        self.assertEqual(source["url"], "http://prometheus:9090")
        provider = files[f"{provisioned}/dashboards/risksignal.yml"]
        (provider,) = yaml.safe_load(provider.read_text())["providers"]
        folder = provider["options"]["path"]
        found = {path for path in files if path.startswith(f"{folder}/")}
        shipped = {f"{folder}/{file.name}" for file in (INFRA / "grafana/dashboards").iterdir()}
        self.assertEqual(found, shipped)

    def test_a_stop_has_more_time_than_the_daemon_takes(self):
        example = (REPOSITORY / "risksignal.example.toml").read_text()
        (grace,) = re.findall(r'^#grace = "(\d+)s"$', example, re.M)
        (stop,) = re.fullmatch(r"(\d+)s", self.services["ingest"]["stop_grace_period"]).groups()
        self.assertGreater(int(stop), int(grace))

    def test_the_image_is_built_from_all_that_cargo_reads(self):
        manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
        kept = (INFRA / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        # A target in the manifest must exist, or cargo does not build the others.
        for kind, folder in (("test", "tests"), ("bench", "benches"), ("example", "examples")):
            if kind in manifest:
                self.assertIn(f"!{folder}", kept)
        script = manifest["package"].get("build", "build.rs")
        self.assertEqual(f"!{script}" in kept, (REPOSITORY / script).exists())
        # The same applies to included sources.
        for source in (REPOSITORY / "src").rglob("*.rs"):
            for path in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
                included = (source.parent / path).resolve().relative_to(REPOSITORY)
                above = (str(folder) for folder in (included, *included.parents))
                self.assertTrue(any(f"!{folder}" in kept for folder in above), included)


if __name__ == "__main__":
    unittest.main()
