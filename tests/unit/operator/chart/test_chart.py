"""The rendered chart: least rights, restricted pods, what its values promise."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deepseek_operator.api.kinds import KINDS
from deepseek_operator.cluster import kinds as cluster_kinds
from deepseek_operator.generate import CHART, NAMESPACE
from deepseek_operator.settings import Settings, load_settings

Document = dict[str, Any]
Render = Callable[..., list[Document]]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _of_kind(objects: list[Document], kind: str) -> dict[str, Document]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def _pods(objects: list[Document]) -> Iterator[tuple[str, Document]]:
    """(name, pod spec) of every pod that the chart makes."""
    for each in objects:
        if each["kind"] == "Deployment":
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]


def _operator_rules(objects: list[Document]) -> list[Document]:
    """Of every role that is bound to the operator's ServiceAccount."""
    bindings = [each for each in objects if each["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    bound = {(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings}
    roles = [each for each in objects if (each["kind"], each["metadata"]["name"]) in bound]
    return [rule for role in roles for rule in role["rules"]]


def _verbs(rules: list[Document], group: str, resource: str) -> set[str]:
    found = [rule for rule in rules if group in rule["apiGroups"] and resource in rule["resources"]]
    return {verb for rule in found for verb in rule["verbs"]}


def test_helm_lint_finds_nothing(helm: str, root: Path) -> None:
    result = subprocess.run(
        [helm, "lint", "--strict", str(root / CHART)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_right_is_a_wildcard(default_objects: list[Document]) -> None:
    for role in default_objects:
        if role["kind"] in ("ClusterRole", "Role"):
            for rule in role["rules"]:
                assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]


def test_secrets_can_be_created_and_nothing_else(default_objects: list[Document]) -> None:
    assert _verbs(_operator_rules(default_objects), "", "secrets") == {"create"}


def test_rights_cover_every_kind_that_the_code_touches(default_objects: list[Document]) -> None:
    rules = _operator_rules(default_objects)
    touched = [each for each in vars(cluster_kinds).values() if isinstance(each, cluster_kinds.Kind)]
    assert len(touched) >= 10
    assert [each for each in touched if not _verbs(rules, each.group, each.plural)] == []


def test_no_right_goes_beyond_the_kinds_that_the_code_touches(default_objects: list[Document]) -> None:
    touched = {
        (each.group, each.plural)
        for each in vars(cluster_kinds).values()
        if isinstance(each, cluster_kinds.Kind)
    }
    granted = {
        (group, resource.split("/")[0])
        for rule in _operator_rules(default_objects)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted - touched == set()


def test_only_the_status_of_jobs_and_datasets_is_written(default_objects: list[Document]) -> None:
    rules = _operator_rules(default_objects)
    for kind in KINDS.values():
        writes = _verbs(rules, "deepseek.dev", kind.plural) - {"get", "list", "watch"}
        assert writes == ({"create"} if kind.name == "DeepSeekModelRevision" else set())
        assert _verbs(rules, "deepseek.dev", f"{kind.plural}/status") == {"update"}


def test_the_lease_is_one_by_name(default_objects: list[Document]) -> None:
    rules = [rule for rule in _operator_rules(default_objects) if "leases" in rule["resources"]]
    by_name = {verb for rule in rules if "resourceNames" in rule for verb in rule["verbs"]}
    in_all = {verb for rule in rules if "resourceNames" not in rule for verb in rule["verbs"]}
    assert (by_name, in_all) == ({"get", "update"}, {"create"})


def test_in_namespaced_mode_no_right_reaches_further(render: Render) -> None:
    objects = render({"watchNamespaces": ["research", "prod"], "rbac": {"aggregate": False}})
    assert not _of_kind(objects, "ClusterRole")
    assert not _of_kind(objects, "ClusterRoleBinding")
    roles = [each for each in objects if each["kind"] == "Role"]
    assert sorted(each["metadata"]["namespace"] for each in roles) == [NAMESPACE, "prod", "research"]


def test_in_namespaced_mode_the_same_rights_are_given(
    render: Render, default_objects: list[Document]
) -> None:
    namespaced = _operator_rules(render({"watchNamespaces": ["research"], "rbac": {"aggregate": False}}))
    assert {json.dumps(rule) for rule in namespaced} == {
        json.dumps(rule) for rule in _operator_rules(default_objects)
    }


def test_users_who_may_edit_may_use_the_resources(default_objects: list[Document]) -> None:
    roles = _of_kind(default_objects, "ClusterRole")
    edit = roles["deepseek-operator-edit"]
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert edit["rules"][0]["resources"] == [kind.plural for kind in KINDS.values()]


def test_every_pod_passes_pod_security_restricted(default_objects: list[Document]) -> None:
    pods = dict(_pods(default_objects))
    assert set(pods) == {"deepseek-operator", "deepseek-operator-test"}
    for spec in pods.values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + spec.get("initContainers", []):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_two_replicas_spread_over_nodes_and_survive_a_drain(default_objects: list[Document]) -> None:
    deployment = _of_kind(default_objects, "Deployment")["deepseek-operator"]
    assert deployment["spec"]["replicas"] == 2
    constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert constraints[0]["topologyKey"] == "kubernetes.io/hostname"
    assert constraints[0]["whenUnsatisfiable"] == "DoNotSchedule"
    # Else a node that is tainted, or the pods of the release before, would keep a replica pending.
    assert constraints[0]["nodeTaintsPolicy"] == "Honor"
    assert constraints[0]["matchLabelKeys"] == ["pod-template-hash"]
    budget = _of_kind(default_objects, "PodDisruptionBudget")["deepseek-operator"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_a_single_replica_needs_no_budget(render: Render) -> None:
    assert not _of_kind(render({"replicas": 1}), "PodDisruptionBudget")


def test_the_key_is_created_before_the_operator_reads_it(default_objects: list[Document]) -> None:
    spec = dict(_pods(default_objects))["deepseek-operator"]
    (create,) = spec["initContainers"]
    assert create["command"][-1] == "create-key"
    created = {entry["name"]: entry.get("value") for entry in create["env"]}["DEEPSEEK_KEY_SECRET_NAME"]
    environment = {entry["name"]: entry for entry in spec["containers"][0]["env"]}
    reference = environment["DEEPSEEK_OPERATOR_KEY"]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == (created, "key")


def _environment(objects: list[Document]) -> dict[str, str]:
    """As the operator's container would see it."""
    container = dict(_pods(objects))["deepseek-operator"]["containers"][0]
    fields = {"metadata.namespace": NAMESPACE, "metadata.name": "deepseek-operator-abc"}
    environment = {}
    for entry in container["env"]:
        source = entry.get("valueFrom", {}).get("fieldRef")
        if source:
            environment[entry["name"]] = fields[source["fieldPath"]]
        elif "value" in entry:
            environment[entry["name"]] = entry["value"]
    return environment


def test_every_variable_is_a_setting_of_the_operator(default_objects: list[Document]) -> None:
    names = {f"DEEPSEEK_{name.upper()}" for name in Settings.model_fields}
    assert set(_environment(default_objects)) - names == set()


def test_defaults_of_the_chart_are_defaults_of_the_operator(default_objects: list[Document]) -> None:
    given = load_settings(_environment(default_objects))
    differing = {name for name in Settings.model_fields if getattr(given, name) != getattr(Settings(), name)}
    assert differing == {"worker_image", "operator_name", "operator_labels"}


def test_values_reach_the_operator(render: Render) -> None:
    peer = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    values = {
        "watchNamespaces": ["research", "prod"],
        "worker": {"image": "registry/worker:1", "horovodImage": "registry/horovod:1"},
        "gpuResource": "amd.com/gpu",
        "nodeLostSeconds": 60,
        "minNodes": {"shrinkAfterSeconds": 90, "growAfterSeconds": 1800},
        "concurrency": 3,
        "resyncIntervalSeconds": 7.5,
        "networkPolicy": {"storagePeers": [peer], "storagePorts": [7070, 9000]},
        "leaderElection": {"leaseDurationSeconds": 20, "renewDeadlineSeconds": 12.5, "retrySeconds": 2},
    }
    settings = load_settings(_environment(render(values)))
    assert settings.watch_namespaces == ("research", "prod")
    assert settings.worker_image == "registry/worker:1"
    assert settings.horovod_worker_image == "registry/horovod:1"
    assert (settings.gpu_resource, settings.node_lost_seconds) == ("amd.com/gpu", 60)
    assert (settings.shrink_after_seconds, settings.grow_after_seconds) == (90, 1800)
    assert (settings.concurrency, settings.storage_ports) == (3, (7070, 9000))
    assert settings.storage_peers == (peer,)
    assert settings.resync_interval_seconds == 7.5
    assert settings.lease_duration_seconds == 20
    assert settings.lease_renew_deadline_seconds == 12.5


def test_labels_of_the_operators_pods_are_those_that_policies_admit(default_objects: list[Document]) -> None:
    deployment = _of_kind(default_objects, "Deployment")["deepseek-operator"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    admitted = load_settings(_environment(default_objects)).operator_labels
    assert admitted
    assert admitted.items() <= labels.items()


def test_the_operators_policy_names_what_it_needs(default_objects: list[Document]) -> None:
    policy = _of_kind(default_objects, "NetworkPolicy")["deepseek-operator"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    api_server, dns, coordinators = policy["egress"]
    assert {port["port"] for port in api_server["ports"]} == {443, 6443, 16443}
    assert {port["port"] for port in dns["ports"]} == {53}
    labels = coordinators["to"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/component"] == "coordinator"
    assert coordinators["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_helm_test_reaches_the_operator_whoever_else_may(render: Render) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}
    objects = render({"networkPolicy": {"metricsPeers": [peer]}})
    (rule,) = _of_kind(objects, "NetworkPolicy")["deepseek-operator"]["spec"]["ingress"]
    assert rule["from"][0] == peer
    test_pod = _of_kind(objects, "Pod")["deepseek-operator-test"]
    assert rule["from"][1]["podSelector"]["matchLabels"].items() <= test_pod["metadata"]["labels"].items()


def test_crds_are_kept_when_the_release_goes(default_objects: list[Document]) -> None:
    crds = _of_kind(default_objects, "CustomResourceDefinition")
    assert set(crds) == {f"{kind.plural}.deepseek.dev" for kind in KINDS.values()}
    for crd in crds.values():
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_crds_can_be_left_to_another(render: Render) -> None:
    assert not _of_kind(render({"crds": {"install": False}}), "CustomResourceDefinition")


def test_a_digest_comes_before_a_tag(render: Render) -> None:
    digest = "sha256:" + "ab" * 32
    objects = render({"image": {"repository": "registry/operator", "tag": "2", "digest": digest}})
    spec = dict(_pods(objects))["deepseek-operator"]
    assert spec["containers"][0]["image"] == f"registry/operator@{digest}"
    assert spec["initContainers"][0]["image"] == f"registry/operator@{digest}"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
        ({"logLevel": "LOUD"}, "logLevel"),
        ({"watchNamespaces": ["Not A Namespace"]}, "watchNamespaces"),
        ({"networkPolicy": {"storagePorts": [70000]}}, "storagePorts"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"leaderElection": {"renewDeadlineSeconds": 20}}, "leaderElection"),
        ({"resources": {"limit": {"memory": "1Gi"}}}, "resources"),
        ({"resources": {"limits": {"memory": "1 GB"}}}, "resources"),
        ({"tolerations": [{"key": "gpu", "operator": "exists"}]}, "tolerations"),
        ({"affinity": {"nodeAfinity": {}}}, "affinity"),
        ({"affinity": {"podAntiAffinity": {REQUIRED: [{"labelSelector": {}}]}}}, "topologyKey"),
        ({"affinity": {"nodeAffinity": {REQUIRED: [{"matchExpressions": []}]}}}, "affinity"),
        ({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}}, "nodeSelectorTerms"),
        ({"resyncIntervalSeconds": 0}, "resyncIntervalSeconds"),
        ({"topologySpread": {"whenUnsatisfiable": "Never"}}, "whenUnsatisfiable"),
    ],
)
def test_wrong_values_are_refused_by_name(helm_template: Any, values: Document, words: str) -> None:
    result = helm_template(values)
    assert result.returncode != 0
    assert words in result.stderr


def test_an_affinity_as_kubernetes_documents_it_is_taken(render: Render) -> None:
    selector = {"matchLabels": {"app.kubernetes.io/name": "deepseek-operator"}}
    term = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector}
    expressions = [{"key": "pool", "operator": "In", "values": ["system"]}]
    affinity = {
        "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": expressions}]}},
        "podAntiAffinity": {REQUIRED: [term], PREFERRED: [{"weight": 10, "podAffinityTerm": term}]},
    }
    assert dict(_pods(render({"affinity": affinity})))["deepseek-operator"]["affinity"] == affinity


def test_the_schema_names_every_value_and_no_other(root: Path) -> None:
    values = yaml.safe_load((root / CHART / "values.yaml").read_text())
    schema = json.loads((root / CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, part in schema["properties"].items():
        if part.get("additionalProperties") is False:
            assert set(part["properties"]) == set(values[name]), name


def test_every_value_is_described(root: Path) -> None:
    schema = json.loads((root / CHART / "values.schema.json").read_text())

    def undescribed(properties: Document, at: str) -> Iterator[str]:
        for name, part in properties.items():
            if not part.get("description"):
                yield at + name
            yield from undescribed(part.get("properties", {}), f"{at}{name}.")

    assert list(undescribed(schema["properties"], "")) == []


def test_one_version_everywhere(root: Path) -> None:
    chart = yaml.safe_load((root / CHART / "Chart.yaml").read_text())
    project = (root / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project
    assert chart["version"] == chart["appVersion"]
