"""Request paths of the API."""

import pytest

from deepseek_operator.cluster.kinds import POD, TRAINING_JOB, Kind

NODE = Kind("Node", "nodes", "", namespaced=False)


@pytest.mark.parametrize(
    ("kind", "where", "path"),
    [
        (POD, {}, "/api/v1/pods"),
        (POD, {"namespace": "a", "name": "b"}, "/api/v1/namespaces/a/pods/b"),
        (
            TRAINING_JOB,
            {"namespace": "a", "name": "b", "subresource": "status"},
            "/apis/deepseek.dev/v1alpha1/namespaces/a/deepseektrainingjobs/b/status",
        ),
        (NODE, {"name": "n"}, "/api/v1/nodes/n"),
    ],
)
def test_path(kind: Kind, where: dict[str, str], path: str) -> None:
    assert kind.path(**where) == path
