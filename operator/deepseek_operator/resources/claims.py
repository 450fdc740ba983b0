"""The PersistentVolumeClaims that a run's URIs name, as volumes of its pods.

Each claim is mounted whole, below one folder; `contract.claim_uri` says where.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from deepseek_operator.resources.metadata import Document
from deepseek_workloads.contract.claim_uri import claim_of, mount_path


@dataclass(frozen=True)
class Claim:
    """A claim of the resource's namespace, and whether the run writes to it."""

    name: str
    written: bool


def claims_among(*, read: Iterable[str], written: Iterable[str]) -> tuple[Claim, ...]:
    """Of all URIs that a run reads or writes, sorted. Raises ValueError for a URI that names no claim."""
    writes = {claim_of(uri) for uri in written}
    names = {claim for claim in (*map(claim_of, read), *writes) if claim is not None}
    return tuple(Claim(name, name in writes) for name in sorted(names))


def claim_volumes(claims: tuple[Claim, ...]) -> list[Document]:
    return [
        {"name": _volume(index), "persistentVolumeClaim": {"claimName": claim.name} | _read_only(claim)}
        for index, claim in enumerate(claims)
    ]


def claim_mounts(claims: tuple[Claim, ...]) -> list[Document]:
    return [
        {"name": _volume(index), "mountPath": mount_path(claim.name)} | _read_only(claim)
        for index, claim in enumerate(claims)
    ]


def ownership_policy(claims: tuple[Claim, ...]) -> Document:
    """Of the pods' security context: the kubelet gives a volume to fsGroup by walking through all of its
    files, at each start of a pod, unless its top is that group's already."""
    return {"fsGroupChangePolicy": "OnRootMismatch"} if claims else {}


def _volume(index: int) -> str:
    """A claim's name may be longer than a volume's."""
    return f"claim-{index}"


def _read_only(claim: Claim) -> Document:
    return {} if claim.written else {"readOnly": True}
