"""The chart grants what the operator uses, and no more: its RBAC against the audit log of all tests here.

It runs last (conftest), when the operator has done all that the others asked of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from harness.platform import OPERATOR_NAMESPACE, Object, Platform

pytestmark = pytest.mark.last
NAME = "deepseek-operator"
# Asked for only where a pod of the wanted name exists already: the operator was killed after a create.
RARE = {"get pods"}
USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{NAME}"


@dataclass(frozen=True, order=True)
class Permission:
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


@pytest.fixture(scope="module")
def requests(platform: Platform, undisturbed: str) -> list[Object]:
    """Of the operator's service account, for resources."""
    assert platform.get("dsjob", undisturbed)
    events = [json.loads(line) for line in platform.cluster.audit_log.read_text().splitlines()]
    return [event for event in events if event["user"]["username"] == USER and "objectRef" in event]


def used(event: Object) -> Permission:
    reference = event["objectRef"]
    resource = "/".join(filter(None, (reference.get("resource", ""), reference.get("subresource", ""))))
    return Permission(reference.get("apiGroup", ""), resource, event["verb"])


def granted(platform: Platform) -> Iterator[Permission]:
    own = platform.kubectl.in_namespace(OPERATOR_NAMESPACE)
    for role in (platform.get("clusterrole", NAME), own.get("role", f"{NAME}-self")):
        assert role is not None
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from (Permission(group, resource, verb) for verb in rule["verbs"])


def test_the_operator_was_denied_nothing(requests: list[Object]) -> None:
    decision = "authorization.k8s.io/decision"
    denied = {str(used(event)) for event in requests if event["annotations"].get(decision) != "allow"}
    assert denied == set()


def test_the_operator_has_no_permission_that_it_does_not_use(
    platform: Platform, requests: list[Object]
) -> None:
    seen = {used(event) for event in requests}
    # Server-side apply is a PATCH, for which the API server also asks for `create` where nothing is there.
    seen |= {replace(permission, verb="create") for permission in seen if permission.verb == "patch"}
    unused = set(granted(platform)) - seen
    assert set(map(str, unused)) - RARE == set()


def test_the_operator_has_never_read_a_secret(requests: list[Object]) -> None:
    verbs = {event["verb"] for event in requests if event["objectRef"].get("resource") == "secrets"}
    assert verbs == {"create"}
