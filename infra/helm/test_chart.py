"""Checks of the chart: by Helm, by Kubernetes' own schemas, and by the daemon, which runs with the
rendered files. The binary is the one of `cargo test`.

    infra/test helm
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "infra" / "local"))

import fetch  # noqa: E402
from testing import free_ports, until  # noqa: E402

try:
    import kubernetes_validate
    import yaml
except ImportError:
    kubernetes_validate = yaml = None

CHART = Path(__file__).with_name("risksignal-ingest")
BINARY = REPOSITORY / "target" / "debug" / "risksignal"
# Oldest supported release (Chart.yaml), and newest one with schemas.
KUBERNETES = ("1.27", "1.37")
TOKEN = "a-token-for-ops"
# Everything that the chart can render. The servers are down.
FULL = {
    "image": {"repository": "registry.example/risksignal", "tag": "1.2.3"},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "settings": {
        "nats": {"url": "tls://127.0.0.1:1", "user": "ingest", "connect_timeout": "1s"},
        "clickhouse": {"url": "https://127.0.0.1:1", "migrate": False, "user": 'quoted "\\ & <é>'},
        "cache": {"url": "rediss://127.0.0.1:1/2", "user": "risksignal"},
        "consumer": {"max_ack_pending": 20_000_000},
        "log": {"filter": "info,risksignal=debug"},
        "ops": {"listen": "0.0.0.0:19464"},
    },
    "files": {
        "nats.password_file": {"secret": "nats", "key": "password"},
        "nats.ca_file": {"configMap": "ca", "key": "ca.crt"},
        "nats.cert_file": {"secret": "nats-tls", "key": "tls.crt"},
        "nats.key_file": {"secret": "nats-tls", "key": "tls.key"},
        "clickhouse.password_file": {"secret": "clickhouse", "key": "password"},
        "clickhouse.ca_file": {"configMap": "ca", "key": "ca.crt"},
        "cache.password_file": {"secret": "redis", "key": "password"},
        "cache.ca_file": {"configMap": "ca", "key": "ca.crt"},
        "ops.token_file": {"secret": "ops", "key": "token"},
    },
    "shutdownGraceSeconds": 30,
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"example.org/team": "risk"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "risk", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}


def helm(*arguments: str | Path, values: dict) -> subprocess.CompletedProcess:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        command = [fetch.helm(), *arguments, CHART, "--values", file.name]
        return subprocess.run(command, capture_output=True, text=True)


def rendered(values: dict) -> dict[str, dict]:
    """Returns each object by its kind; there is one of each."""
    told = helm("template", "one", values=values)
    if told.returncode != 0:
        raise AssertionError(told.stderr)
    objects = [found for found in yaml.safe_load_all(told.stdout) if found]
    kinds = {found["kind"]: found for found in objects}
    assert len(kinds) == len(objects), told.stdout
    return kinds


def pod(kinds: dict[str, dict]) -> dict:
    return kinds["Deployment"]["spec"]["template"]


def container(kinds: dict[str, dict]) -> dict:
    (only,) = pod(kinds)["spec"]["containers"]
    return only


def configuration(kinds: dict[str, dict]) -> str:
    ((name, text),) = kinds["ConfigMap"]["data"].items()
    assert name == "risksignal.toml"
    return text


def secrets() -> list[tuple[str, str]]:
    """Returns section and key of every secret of the daemon."""
    # The page is generated from the settings in the code.
    reference = (REPOSITORY / "docs" / "settings.md").read_text()
    found = re.findall(r"(?m)^\| `(\w+)\.(\w+)` .* A secret:", reference)
    assert len(found) > 5, found
    return found


@unittest.skipUnless(yaml, "needs kubernetes-validate and PyYAML, from PyPI")
class Chart(unittest.TestCase):
    def test_helm_finds_nothing_to_say(self):
        for values in ({}, FULL):
            told = helm("lint", "--strict", "--quiet", values=values)
            self.assertEqual(told.returncode, 0, told.stdout + told.stderr)

    def test_kubernetes_takes_every_object(self):
        for values in ({}, FULL):
            for version in KUBERNETES:
                kinds = rendered(values)
                # That value belongs to the Prometheus operator.
                kinds.pop("ServiceMonitor", None)
                self.assertEqual(len(kinds), 5)
                for found in kinds.values():
                    kubernetes_validate.validate(found, version, strict=True)

    def test_the_schemas_would_find_a_misspelling(self):
        deployment = rendered({})["Deployment"]
        deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 40
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)

    def test_it_is_the_daemon_of_this_version(self):
        manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
        version = manifest["workspace"]["package"]["version"]
        self.assertEqual(container(rendered({}))["image"], f"risksignal-ingest:{version}")
        self.assertEqual(container(rendered(FULL))["image"], "registry.example/risksignal:1.2.3")

    def test_the_pod_is_confined(self):
        for values in ({}, FULL):
            kinds = rendered(values)
            spec = pod(kinds)["spec"]
            dockerfile = (REPOSITORY / "infra" / "docker" / "Dockerfile").read_text()
            (user, group) = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.M).groups()
            self.assertEqual(
                spec["securityContext"],
                {
                    "runAsNonRoot": True,
                    "runAsUser": int(user),
                    "runAsGroup": int(group),
                    "fsGroup": int(group),
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            )
            self.assertEqual(
                container(kinds)["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            )
            self.assertIs(spec["automountServiceAccountToken"], False)
            account = kinds["ServiceAccount"]
            self.assertIs(account["automountServiceAccountToken"], False)
            self.assertEqual(spec["serviceAccountName"], account["metadata"]["name"])
            for mount in container(kinds)["volumeMounts"]:
                self.assertIs(mount["readOnly"], True)
            self.assertIn("memory", container(kinds)["resources"]["limits"])

    def test_what_selects_the_pods_does(self):
        for values in ({}, FULL):
            kinds = rendered(values)
            labels = pod(kinds)["metadata"]["labels"].items()
            for selector in (
                kinds["Deployment"]["spec"]["selector"]["matchLabels"],
                kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
                kinds["Service"]["spec"]["selector"],
            ):
                self.assertLessEqual(selector.items(), labels)
        monitor = kinds["ServiceMonitor"]
        selector = monitor["spec"]["selector"]["matchLabels"]
        self.assertLessEqual(selector.items(), kinds["Service"]["metadata"]["labels"].items())
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        self.assertNotIn("ServiceMonitor", rendered({}))

    def test_prometheus_shows_the_token_that_the_daemon_asks_for(self):
        kinds = rendered(FULL)
        (endpoint,) = kinds["ServiceMonitor"]["spec"]["endpoints"]
        (port,) = kinds["Service"]["spec"]["ports"]
        self.assertEqual(endpoint["port"], port["name"])
        self.assertEqual(endpoint["authorization"]["credentials"], {"name": "ops", "key": "token"})
        (endpoint,) = rendered({**FULL, "files": {}})["ServiceMonitor"]["spec"]["endpoints"]
        self.assertNotIn("authorization", endpoint)

    def test_with_a_certificate_everything_asks_by_https(self):
        secret = {"secret": "ops-tls", "key": "tls.crt"}
        files = FULL["files"] | {"ops.cert_file": secret, "ops.key_file": secret}
        for values, scheme in ((FULL, "HTTP"), ({**FULL, "files": files}, "HTTPS")):
            kinds = rendered(values)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                self.assertEqual(container(kinds)[probe]["httpGet"]["scheme"], scheme)
            (endpoint,) = kinds["ServiceMonitor"]["spec"]["endpoints"]
            self.assertEqual(endpoint.get("scheme", "http").upper(), scheme)

    def test_a_stop_has_more_time_than_the_daemon_takes(self):
        for values, expected in (({}, 25), (FULL, 30)):
            kinds = rendered(values)
            grace = tomllib.loads(configuration(kinds))["shutdown"]["grace"]
            self.assertEqual(grace, f"{expected}s")
            self.assertEqual(pod(kinds)["spec"]["terminationGracePeriodSeconds"], expected + 15)

    def test_an_old_instance_stops_when_a_new_one_is_ready(self):
        spec = rendered({})["Deployment"]["spec"]
        self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})

    def test_a_changed_setting_and_nothing_else_makes_new_pods(self):
        def checksum(values: dict) -> str:
            return pod(rendered(values))["metadata"]["annotations"]["checksum/config"]

        self.assertEqual(checksum({}), checksum({"replicas": 7}))
        self.assertNotEqual(checksum({}), checksum({"settings": {"batch": {"max_rows": 1}}}))
        self.assertNotEqual(checksum({}), checksum({"shutdownGraceSeconds": 26}))

    def test_the_configuration_has_the_settings_as_they_were_given(self):
        expected = {**FULL["settings"], "shutdown": {"grace": "30s"}}
        self.assertEqual(tomllib.loads(configuration(rendered(FULL))), expected)

    def test_every_setting_that_is_a_file_can_be_given_and_is_known(self):
        example = (REPOSITORY / ".env.example").read_text()
        variables = re.findall(r"^#(RISKSIGNAL__(\w+?)__(\w+_FILE))=", example, re.M)
        self.assertGreater(len(variables), 10)
        files = {
            f"{section}.{key}".lower(): {"secret": "one", "key": "two"}
            for _, section, key in variables
        }
        given = container(rendered({"files": files}))["env"]
        names = [variable["name"] for variable in given]
        self.assertEqual(sorted(names), sorted(variable for variable, _, _ in variables))

    def test_no_secret_can_stand_in_the_values(self):
        self.assertGreater(len(secrets()), 5)
        for section, key in secrets():
            self.assert_refused(
                {"settings": {section: {key: "hunter2"}}},
                f"settings.{section}.{key} is a secret: name the Secret that holds it under files"
                f" as {section}.{key}_file",
            )
            self.assert_refused(
                {"files": {f"{section}.{key}_file": {"configMap": "open", "key": "to-all"}}},
                "files",
            )
        for section, url in (
            ("nats", "nats://one:4222,nats://ingest:hunter2@two:4222"),
            ("clickhouse", "http://ingest:hunter2@clickhouse:8123"),
            ("cache", "redis://:hunter2@redis:6379"),
            ("cache", "rediss://risksignal:hunter2/@redis:6379/0"),
        ):
            settings = {section: {"url": url}}
            self.assert_refused({"settings": settings}, f"settings.{section}.url holds a login")

    def test_what_would_not_work_is_refused(self):
        for values, words in (
            ({"replica": 2}, "replica"),
            ({"settings": {"ops": {"listen": "127.0.0.1:9464"}}}, "listen"),
            ({"settings": {"ops": {"listen": "off"}}}, "listen"),
            ({"settings": {"batch": {"max_rows": 1.5}}}, "max_rows"),
            ({"settings": {"batch": 1}}, "batch"),
            ({"settings": {"nats": {"ca_file": "/ca.pem"}}}, "under files as nats.ca_file"),
            ({"settings": {"shutdown": {"grace": "9s"}}}, "set shutdownGraceSeconds"),
            ({"files": {"nats.password_file": {"secret": "nats"}}}, "key"),
            ({"files": {"password": {"secret": "nats", "key": "password"}}}, "password"),
        ):
            self.assert_refused(values, words)

    def assert_refused(self, values: dict, words: str):
        told = helm("template", "one", values=values)
        self.assertNotEqual(told.returncode, 0, values)
        self.assertIn(words, told.stderr)
        self.assertNotIn("hunter2", told.stderr)


@unittest.skipUnless(yaml, "needs kubernetes-validate and PyYAML, from PyPI")
@unittest.skipUnless(BINARY.exists(), "needs target/debug/risksignal")
@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Daemon(unittest.TestCase):
    """The daemon started like the kubelet does, with the volumes in a folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.content = {"password": "hunter2", "token": TOKEN}
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=ca", "-keyout", "tls.key", "-out", "tls.crt"],
            cwd=folder.name, check=True, capture_output=True,
        )  # fmt: skip
        for name in ("tls.key", "tls.crt"):
            self.content[name] = (self.folder / name).read_text()
        self.content["ca.crt"] = self.content["tls.crt"]

    def mount(self, kinds: dict[str, dict]) -> dict[str, str]:
        """Creates the volumes, and returns the folder of each mount."""
        volumes = {volume["name"]: volume for volume in pod(kinds)["spec"]["volumes"]}
        places = {}
        for mount in container(kinds)["volumeMounts"]:
            place = self.folder / mount["name"]
            place.mkdir()
            places[mount["mountPath"]] = str(place)
            for name, content in self.files(kinds, volumes[mount["name"]]):
                (place / name).write_text(content)
        return places

    def files(self, kinds: dict[str, dict], volume: dict):
        if "configMap" in volume:
            self.assertEqual(volume["configMap"]["name"], kinds["ConfigMap"]["metadata"]["name"])
            # The tests' servers listen on loopback.
            text = configuration(kinds).replace("0.0.0.0", "127.0.0.1")
            yield "risksignal.toml", text
            return
        for source in volume["projected"]["sources"]:
            ((_, named),) = source.items()
            for item in named["items"]:
                yield item["path"], self.content[item["key"]]

    def start(self, values: dict) -> subprocess.Popen:
        kinds = rendered(values)
        places = self.mount(kinds)

        def here(text: str) -> str:
            for path, place in places.items():
                text = text.replace(path, place)
            return text

        self.container = container(kinds)
        environment = {var["name"]: here(var["value"]) for var in self.container.get("env", [])}
        daemon = subprocess.Popen(
            [BINARY, *map(here, self.container["args"])],
            env=environment,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        return daemon

    def probe(self, which: str) -> int:
        get = self.container[f"{which}Probe"]["httpGet"]
        self.assertEqual(get["port"], self.container["ports"][0]["name"])
        return self.get(get["path"])

    def get(self, path: str, **headers: str) -> int:
        """Returns the status of the answer; 0 without one."""
        port = self.container["ports"][0]["containerPort"]
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def run_with(self, values: dict, open_to_all: bool):
        (port,) = free_ports(1)
        settings = {**values.get("settings", {}), "ops": {"listen": f"0.0.0.0:{port}"}}
        daemon = self.start({**values, "settings": settings})
        until(lambda: daemon.poll() is not None or self.probe("startup") == 200)
        self.assertIsNone(daemon.poll(), "it ended")
        self.assertEqual(self.probe("liveness"), 200)
        # Without its servers it cannot ingest.
        self.assertEqual(self.probe("readiness"), 503)
        self.assertEqual(self.get("/metrics"), 200 if open_to_all else 401)
        self.assertEqual(self.get("/metrics", Authorization=f"Bearer {TOKEN}"), 200)
        daemon.terminate()
        _, told = daemon.communicate(timeout=30)
        self.assertEqual(daemon.returncode, 0, told)
        return told

    def test_it_runs_with_the_default_values_and_answers_the_probes(self):
        self.run_with({}, open_to_all=True)

    def test_it_runs_with_full_values_and_answers_the_probes_without_the_token(self):
        told = self.run_with(FULL, open_to_all=False)
        self.assertNotIn("hunter2", told)
        self.assertNotIn(TOKEN, told)


if __name__ == "__main__":
    unittest.main()
