"""pvc://CLAIM/FOLDER: a folder on a PersistentVolumeClaim, as KServe and Kubeflow write it too.

The URI says all that a pod needs: the operator mounts CLAIM at `mount_path(CLAIM)`, and the store's files lie
below it. It does not know what is stored there.
"""

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

CLAIM_SCHEME: Final = "pvc"
CLAIMS_DIR: Final = "/mnt/claims"
_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CLAIM: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_CLAIM_CHARACTERS: Final = 253


def claim_of(uri: str) -> str | None:
    """The claim's name; None: a URI of another scheme. Raises ValueError for a name that no claim has."""
    if not uri.startswith(f"{CLAIM_SCHEME}://"):
        return None
    name = urlsplit(uri).netloc
    if len(name) > _CLAIM_CHARACTERS or not _CLAIM.fullmatch(name):
        raise ValueError(f"{uri!r}: must name a PersistentVolumeClaim after {CLAIM_SCHEME}://")
    return name


def mount_path(claim: str) -> str:
    return f"{CLAIMS_DIR}/{claim}"


def folder_of(uri: str) -> PurePosixPath:
    """Relative to the claim's mount. Raises ValueError for a path that would lead out of it."""
    folder = PurePosixPath(urlsplit(uri).path.strip("/"))
    if ".." in folder.parts:
        raise ValueError(f"{uri!r}: must have no .. in its path")
    return folder
