"""The operator's own key, from which the tokens of runs are derived, so that no Secret need ever be read.

It knows neither runs nor pods.
"""

import os
import secrets
from typing import Final

from deepseek_operator.cluster.interface import AlreadyExists, Cluster
from deepseek_operator.cluster.kinds import SECRET

KEY_ENVIRONMENT: Final = "DEEPSEEK_OPERATOR_KEY"
KEY_FIELD: Final = "key"
_MIN_CHARACTERS: Final = 32


class OperatorKeyMissing(Exception):
    """The process was started without its key."""


def operator_key(environ: os._Environ[str] | dict[str, str]) -> bytes:
    """Raises OperatorKeyMissing."""
    key = environ.get(KEY_ENVIRONMENT, "")
    if len(key) < _MIN_CHARACTERS:
        raise OperatorKeyMissing(
            f"{KEY_ENVIRONMENT}: {len(key)} characters: at least {_MIN_CHARACTERS} are needed; "
            "run `python -m deepseek_operator create-key` and pass the Secret's field by secretKeyRef"
        )
    return key.encode()


async def create_key(cluster: Cluster, *, name: str, namespace: str) -> bool:
    """Creates the Secret with a fresh key; False when it is there already, whose key is then kept."""
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "deepseek-operator"},
        },
        "type": "Opaque",
        "stringData": {KEY_FIELD: secrets.token_hex(32)},
    }
    try:
        await cluster.create(SECRET, document)
    except AlreadyExists:
        return False
    return True
