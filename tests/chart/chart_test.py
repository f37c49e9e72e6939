"""The chart deploy/helm/crossrank: helm's own checks, every manifest against
the JSON schemas of Kubernetes, and what the manifests must agree on with each
other and with the program. Run by ./run chart, which gets helm."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from serve import Server  # noqa: E402

yaml = pytest.importorskip("yaml", reason="no PyYAML: use ./run chart")
kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="no kubernetes-validate: use ./run chart")

CHART = ROOT / "deploy/helm/crossrank"
VERSIONS = ["1.30", "1.33", kubernetes_validate.latest_version()]
IMAGE = {"repository": "registry.example/crossrank", "tag": "1"}
SHA256 = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"
VALUES = {
    "plain": {},
    "all": {
        "replicas": 3, "lanes": 8,
        "settings": {"model": "/models/mine", "max_queue_tokens": 100000000,
                     "drain_timeout_ms": 61500, "access_log": True,
                     "batching": {"max_batch": 96, "timeout_ms": 20}},
        "apiKeys": {"alice": SHA256, "bob": SHA256[::-1]},
        "autoscaling": {"enabled": True, "queuedTokensPerLane": 3000},
        "serviceMonitor": {"enabled": True, "labels": {"release": "main"}},
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "models", "emptyDir": {}}],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        "environment": [{"name": "TZ", "value": "UTC"}],
        "nodeSelector": {"cpu": "new"}, "podLabels": {"team": "search"},
        "podAnnotations": {"note": "x"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "service": {"type": "LoadBalancer", "httpPort": 80}},
    "keys elsewhere": {"apiKeysSecret": "ours",
                       "podDisruptionBudget": {"enabled": False},
                       "stopDelaySeconds": 0},
}


@pytest.fixture(scope="session")
def helm(tmp_path_factory):
    """helm(arguments..., values) -> CompletedProcess"""
    program = os.environ.get("CROSSRANK_HELM") or shutil.which("helm")
    if not program:
        pytest.skip("no helm: ./run chart builds it where there is Go 1.19")
    folder = tmp_path_factory.mktemp("helm")

    def run(*arguments, values):
        path = folder / "values.yaml"
        path.write_text(json.dumps(values))
        return subprocess.run(
            [program, *arguments, CHART, "--values", path],
            capture_output=True, text=True,
            env={**os.environ, "HOME": str(folder)})
    return run


@pytest.fixture(scope="session")
def render(helm):
    """render(values, version) -> {(kind, name): manifest}"""
    def run(values, version="1.30"):
        done = helm("template", "demo", "--namespace", "search",
                    "--kube-version", version,
                    values={"image": IMAGE, **values})
        assert done.returncode == 0, done.stderr
        found = [d for d in yaml.safe_load_all(done.stdout) if d]
        named = {(d["kind"], d["metadata"]["name"]): d for d in found}
        assert len(named) == len(found)
        return named
    return run


def only(manifests, kind):
    found, = (d for (k, name), d in manifests.items()
              if k == kind and not name.endswith("-replicas"))
    return found


def pod_of(manifests):
    return only(manifests, "Deployment")["spec"]["template"]


def settings_of(manifests):
    return yaml.safe_load(only(manifests, "ConfigMap")["data"][
        "settings.yaml"])


# ---- Checks by others ---------------------------------------------------------


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_lint(helm, values):
    done = helm("lint", "--strict", values={"image": IMAGE, **values})
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_manifests_are_valid(render, values, version):
    manifests = render(values, version)
    for (kind, _), manifest in manifests.items():
        # Of the Prometheus operator, whose schema is nowhere to be had offline.
        if kind != "ServiceMonitor":
            kubernetes_validate.validate(manifest, version, strict=True)
    assert len(manifests) >= 4


def test_a_wrong_manifest_is_not(render):
    manifest = only(render({}), "Deployment")
    manifest["spec"]["template"]["spec"]["containers"][0]["port"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.30", strict=True)


@pytest.mark.parametrize("values, complaint", [
    ({"image": {"repository": "", "tag": "1"}}, "image.repository: set it"),
    ({"image": {"repository": "x", "tag": ""}}, "image.tag: set it"),
    ({"settings": {"max_queue_token": 1}}, "max_queue_token"),
    ({"settings": {"port": 80}}, "port"),
    ({"settings": {"max_documents": 0}}, "max_documents"),
    ({"settings": {"batching": {"max_batches": 1}}}, "max_batches"),
    ({"apiKeys": {"alice": "secret"}}, "apiKeys.alice"),
    ({"apiKeys": {"a b": SHA256}}, "apiKeys"),
    ({"lanes": 0}, "lanes"), ({"lane": 4}, "lane")])
def test_wrong_values_are_refused(helm, values, complaint):
    done = helm("template", "demo", "--kube-version", "1.30",
                values={"image": IMAGE, **values})
    assert done.returncode != 0 and complaint in done.stderr


def test_an_older_kubernetes_is_refused(helm):
    done = helm("template", "demo", "--kube-version", "1.29",
                values={"image": IMAGE})
    assert done.returncode != 0 and ">=1.30" in done.stderr


# ---- What must agree -----------------------------------------------------------


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_program_reads_its_settings(render, crossrank, tmp_path, values):
    manifests = render(values)
    path = tmp_path / "settings.yaml"
    path.write_text(only(manifests, "ConfigMap")["data"]["settings.yaml"])
    done = crossrank("serve", "--config", path, "--print-config")
    assert done.returncode == 0, done.stderr
    told, got = settings_of(manifests), yaml.safe_load(done.stdout)
    for name, value in told.items():
        if isinstance(value, dict):
            got[name] = {k: got[name][k] for k in value}
        assert got[name] == value, name
    container = pod_of(manifests)["spec"]["containers"][0]
    assert container["args"] == ["serve", "--config",
                                 "/etc/crossrank/settings.yaml"]
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {
        "http": got["port"], "grpc": got["grpc"]["port"]}
    assert (got["threads"], got["host"]) == (values.get("lanes", 4), "0.0.0.0")


def test_the_schema_has_every_setting(crossrank):
    schema = json.loads((CHART / "values.schema.json").read_text())
    ours = schema["properties"]["settings"]["properties"]
    known = yaml.safe_load(crossrank("serve", "--print-config").stdout)
    owned = {"host", "port", "unix_socket", "grpc", "threads",
             "api_keys_file"}
    assert set(ours) == set(known) - owned
    assert set(ours["batching"]["properties"]) == set(known["batching"])


def test_the_schema_has_every_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(value, schema, at):
        assert set(value) <= set(schema["properties"]), at
        for name, inner in value.items():
            if schema["properties"][name].get("properties"):
                compare(inner, schema["properties"][name], f"{at}.{name}")
    compare(values, schema, "values")


@pytest.mark.parametrize("values, seconds", [
    ({}, 5 + 30 + 10), (VALUES["all"], 5 + 62 + 10),
    (VALUES["keys elsewhere"], 0 + 30 + 10),
    ({"settings": {"drain_timeout_ms": 0}}, 5 + 0 + 10)])
def test_grace_is_longer_than_draining(render, values, seconds):
    pod = pod_of(render(values))["spec"]
    assert pod["terminationGracePeriodSeconds"] == seconds
    delay = values.get("stopDelaySeconds", 5)
    assert pod["containers"][0].get("lifecycle") == (
        {"preStop": {"sleep": {"seconds": delay}}} if delay else None)


def test_resources_follow_lanes(render):
    got = pod_of(render(VALUES["all"]))["spec"]["containers"][0]["resources"]
    assert got["requests"] == got["limits"] == {"cpu": "8", "memory":
                                                f"{768 + 8 * 64}Mi"}


def test_probes(render):
    container = pod_of(render({}))["spec"]["containers"][0]
    assert {name: container[name + "Probe"]["httpGet"]["path"]
            for name in ("startup", "liveness", "readiness")} == {
        "startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] == 120


def selects(selector, labels):
    return selector.items() <= labels.items()


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_selectors_find_the_replicas(render, values):
    manifests = render(values)
    labels = pod_of(manifests)["metadata"]["labels"]
    for (kind, _), d in manifests.items():
        if kind == "Service":
            assert selects(d["spec"]["selector"], labels)
            assert {p["targetPort"] for p in d["spec"]["ports"]} == {
                "http", "grpc"}
        elif kind in ("Deployment", "PodDisruptionBudget"):
            assert selects(d["spec"]["selector"]["matchLabels"], labels)
    headless, = (d for (kind, name), d in manifests.items()
                 if kind == "Service" and name.endswith("-replicas"))
    assert headless["spec"]["clusterIP"] == "None"
    assert ("PodDisruptionBudget", "demo-crossrank") in manifests or \
        values.get("podDisruptionBudget") == {"enabled": False}


def test_keys(render, build, tmp_path):
    manifests = render(VALUES["all"])
    assert settings_of(manifests)["api_keys_file"] == \
        "/etc/crossrank-keys/keys"
    # The server takes the file as it is.
    keys = tmp_path / "keys"
    keys.write_text(only(manifests, "Secret")["stringData"]["keys"])
    server = Server(build / "crossrank", api_keys_file=keys)
    assert server.post("/rerank", {"query": "a", "texts": ["b"]}).status == 401
    assert server.stop() == 0

    def mounted(values):
        pod = pod_of(render(values))["spec"]
        return [v["secret"]["secretName"] for v in pod["volumes"]
                if "secret" in v]
    assert mounted(VALUES["all"]) == ["demo-crossrank"]
    assert mounted(VALUES["keys elsewhere"]) == ["ours"]
    assert mounted({}) == []
    assert not any(kind == "Secret" for kind, _ in render(
        VALUES["keys elsewhere"]))


def test_a_change_of_settings_or_keys_starts_new_replicas(render):
    def sums(**values):
        return tuple(v for k, v in pod_of(render(values))["metadata"][
            "annotations"].items() if k.startswith("checksum/"))
    seen = {sums(), sums(settings={"access_log": True}), sums(lanes=2),
            sums(apiKeys={"alice": SHA256}), sums(apiKeys={"bob": SHA256})}
    assert len(seen) == 5


# ---- Scaling and scraping ---------------------------------------------------------


def test_autoscaling(render, build):
    manifests = render(VALUES["all"])
    assert "replicas" not in only(manifests, "Deployment")["spec"]
    assert only(render({}), "Deployment")["spec"]["replicas"] == 2
    spec = only(manifests, "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "name": only(manifests, "Deployment")["metadata"]["name"]}
    pods = spec["metrics"][0]["pods"]
    assert pods["target"] == {"type": "AverageValue",
                              "averageValue": str(8 * 3000)}
    rule, = yaml.safe_load((CHART / "examples/prometheus-adapter.yaml")
                           .read_text())["rules"]["custom"]
    name = pods["metric"]["name"]
    assert rule["name"]["as"] == name
    assert re.fullmatch(rule["name"]["matches"], name)
    assert rule["seriesQuery"].startswith(name + "{")
    server = Server(build / "crossrank")
    text = server.get("/metrics").data.decode()
    assert server.stop() == 0
    assert f"# TYPE {name} gauge\n" in text


def test_each_replica_is_scraped_once(render):
    manifests = render(VALUES["all"])
    monitor = only(manifests, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "main"
    selector = monitor["spec"]["selector"]
    expression, = selector["matchExpressions"]
    assert expression["operator"] == "DoesNotExist"
    scraped = [d for (kind, _), d in manifests.items() if kind == "Service"
               and selects(selector["matchLabels"], d["metadata"]["labels"])
               and expression["key"] not in d["metadata"]["labels"]]
    assert len(scraped) == 1
    endpoint, = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {p["name"]
                                for p in scraped[0]["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
