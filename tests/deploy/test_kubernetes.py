"""``deploy/kubernetes``: the cluster's own schemas, and that whatever is named is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from serving.app import bare_app
from tests.deploy.files import (
    DEPLOY,
    asked_of_environment,
    document,
    is_ours,
    manifests,
    pins,
    scripts,
    setting_names,
)

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = dict(manifests())
KUSTOMIZATION = document("kubernetes/kustomization.yaml")
YOURS = {"wavehouse-instruments"}  # docs/deploying.md says how it is made
NEVER = "a tag that moves"


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [found for found in MANIFESTS.values() if found["kind"] == kind]


DEPLOYMENTS = {found["metadata"]["name"]: found for found in of_kind("Deployment")}
LABELS = {
    name: found["spec"]["template"]["metadata"]["labels"] for name, found in DEPLOYMENTS.items()
} | {"dagster-run": document("kubernetes/dagster.yaml")["run_launcher"]["config"]["labels"]}


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    return dict(found)


def selected(selector: dict[str, Any]) -> set[str]:
    """Return the pods that a selector means."""
    return {
        name
        for name, labels in LABELS.items()
        if all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())
        and all(
            rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
            for rule in selector.get("matchExpressions", ())
        )
    }


def names(found: Any, key: str) -> Iterator[str]:
    """Yield the names below every ``key``."""
    if isinstance(found, dict):
        if key in found:
            yield found[key].get("name") or found[key]["claimName"]
        for value in found.values():
            yield from names(value, key)
    elif isinstance(found, list):
        for value in found:
            yield from names(value, key)


@pytest.mark.parametrize("where", MANIFESTS)
def test_a_cluster_would_take_it(where: str) -> None:
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(MANIFESTS[where], version, strict=True)


def test_the_schema_refuses_what_a_cluster_would_not_take() -> None:
    with pytest.raises(kubernetes_validate.ValidationError, match="containrs"):
        kubernetes_validate.validate(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "x"},
                "spec": {"containers": [{"name": "x"}], "containrs": []},
            },
            kubernetes_validate.latest_version(),
            strict=True,
        )


def test_every_file_is_applied_and_the_example_is_not() -> None:
    made = [Path(f) for made in KUSTOMIZATION["configMapGenerator"] for f in made["files"]]
    listed = {Path(name) for name in KUSTOMIZATION["resources"]}.union(made)
    there = {path.relative_to(FOLDER) for path in FOLDER.iterdir()}
    assert there - listed == {Path("kustomization.yaml"), Path("secret.example.yaml")}
    assert listed <= there
    assert KUSTOMIZATION["generatorOptions"] == {"disableNameSuffixHash": True}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_is_bounded_watched_and_may_do_little(name: str) -> None:
    one = container(name)
    assert {"cpu", "memory"} == set(one["resources"]["requests"]) == set(one["resources"]["limits"])
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(one)
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    context = pod(name)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
    assert {"/data", "/tmp", "/var/cache/wavehouse"} <= mounted  # noqa: S108 - in the container
    assert {m["name"] for m in one["volumeMounts"]} == {v["name"] for v in pod(name)["volumes"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_image_is_pinned(name: str) -> None:
    image, _, tag = container(name)["image"].partition(":")
    (override,) = KUSTOMIZATION["images"]
    assert override["name"] == image
    assert tag == override["newTag"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", tag), NEVER


def test_runs_use_the_image_and_the_limits_of_everything_else() -> None:
    launcher = document("kubernetes/dagster.yaml")["run_launcher"]["config"]
    (override,) = KUSTOMIZATION["images"]
    assert launcher["job_image"] == f"{override['newName']}:{override['newTag']}"
    assert {"requests", "limits"} == set(launcher["resources"])
    assert launcher["security_context"] == container("api")["securityContext"]
    assert launcher["job_namespace"] == KUSTOMIZATION["namespace"]
    assert (
        launcher["dagster_home"]
        == MANIFESTS["settings.yaml:ConfigMap/wavehouse"]["data"]["DAGSTER_HOME"]
    )
    assert launcher["instance_config_map"] in {
        made["name"] for made in KUSTOMIZATION["configMapGenerator"]
    }
    assert launcher["env_config_maps"] == ["wavehouse"]
    assert launcher["env_secrets"] == [found["metadata"]["name"] for found in of_kind("Secret")]
    code = {m["mountPath"] for m in container("dagster-code")["volumeMounts"]}
    assert {m["mountPath"] for m in launcher["volume_mounts"]} <= code


def test_every_map_secret_claim_and_account_is_there() -> None:
    launcher = document("kubernetes/dagster.yaml")["run_launcher"]["config"]
    maps = {found["metadata"]["name"] for found in of_kind("ConfigMap")} | YOURS
    maps |= {made["name"] for made in KUSTOMIZATION["configMapGenerator"]}
    everything = [*DEPLOYMENTS.values(), launcher]
    assert set(names(everything, "configMapRef")) | set(names(everything, "configMap")) <= maps
    secrets = {found["metadata"]["name"] for found in of_kind("Secret")}
    assert set(names(everything, "secretRef")) == secrets
    claims = {found["metadata"]["name"] for found in of_kind("PersistentVolumeClaim")}
    assert set(names(everything, "persistentVolumeClaim")) == claims
    accounts = {found["metadata"]["name"] for found in of_kind("ServiceAccount")}
    used = {pod(name)["serviceAccountName"] for name in DEPLOYMENTS}
    assert used | {launcher["service_account_name"]} == accounts
    (binding,) = of_kind("RoleBinding")
    assert {subject["name"] for subject in binding["subjects"]} <= accounts
    assert binding["roleRef"]["name"] == of_kind("Role")[0]["metadata"]["name"]


def test_only_who_launches_runs_may_ask_the_cluster() -> None:
    (binding,) = of_kind("RoleBinding")
    bound = {subject["name"] for subject in binding["subjects"]}
    for name in DEPLOYMENTS:
        is_asking = pod(name)["serviceAccountName"] in bound
        assert pod(name)["automountServiceAccountToken"] is is_asking


def test_every_variable_is_a_setting_or_is_read_by_dagster() -> None:
    given = set(MANIFESTS["settings.yaml:ConfigMap/wavehouse"]["data"])
    given |= set(MANIFESTS["secret.example.yaml:Secret/wavehouse-addresses"]["stringData"])
    assert {name for name in given if is_ours(name)} <= setting_names()
    asked = asked_of_environment(document("kubernetes/dagster.yaml"))
    assert {name for name in given if not is_ours(name)} == asked | {"DAGSTER_HOME"}
    text = container("mlflow")["command"][-1]
    assert set(re.findall(r"\$(\w+)", text)) <= given


def test_every_service_budget_and_policy_selects_pods_that_there_are() -> None:
    for found in of_kind("Service"):
        chosen = selected({"matchLabels": found["spec"]["selector"]})
        assert chosen == {found["metadata"]["name"]}
        (port,) = found["spec"]["ports"]
        (open_,) = container(found["metadata"]["name"])["ports"]
        assert (port["targetPort"], port["port"]) == (open_["name"], open_["containerPort"])
    for found in of_kind("PodDisruptionBudget"):
        (name,) = selected(found["spec"]["selector"])
        assert DEPLOYMENTS[name]["spec"]["replicas"] >= 2  # or a node could never be drained
    for found in of_kind("NetworkPolicy"):
        rules = found["spec"].get("ingress", []) + found["spec"].get("egress", [])
        assert selected(found["spec"]["podSelector"]), found["metadata"]["name"]
        for peer in (p for rule in rules for p in rule.get("from", []) + rule.get("to", [])):
            assert "namespaceSelector" in peer or selected(peer["podSelector"])
    for name, found in DEPLOYMENTS.items():
        assert selected(found["spec"]["selector"]) == {name}


def reachable(name: str, direction: str) -> set[int]:
    """Return the ports that the policies open to or from a pod."""
    return {
        port["port"]
        for found in of_kind("NetworkPolicy")
        if name in selected(found["spec"]["podSelector"])
        for rule in found["spec"].get(direction, ())
        for port in rule["ports"]
    }


def test_the_network_opens_what_is_used_and_denies_the_rest() -> None:
    deny = MANIFESTS["network.yaml:NetworkPolicy/default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in DEPLOYMENTS:
        ports = {port["containerPort"] for port in container(name).get("ports", ())}
        assert ports <= reachable(name, "ingress"), name
    for name in LABELS:
        assert {53, 5432, 8123, 6379} <= reachable(name, "egress"), name
    assert 443 not in reachable("api", "egress")
    assert 443 in reachable("dagster-run", "egress")
    assert reachable("dagster-run", "ingress") == set()


def test_probes_ask_for_what_the_api_has_and_liveness_touches_no_store() -> None:
    paths = set(bare_app().openapi()["paths"])
    probes = {kind: container("api")[f"{kind}Probe"] for kind in ("liveness", "readiness")}
    assert {probe["httpGet"]["path"] for probe in probes.values()} <= paths
    assert probes["readiness"]["httpGet"]["path"] == "/v1/health/ready"
    assert probes["liveness"]["httpGet"]["path"] == "/v1/health/live"  # looks at nothing


def test_every_command_is_one_that_the_image_has() -> None:
    for name in DEPLOYMENTS:
        assert container(name)["command"][0] in scripts() | {"sh"}
    assert "dagster-k8s" in pins()
