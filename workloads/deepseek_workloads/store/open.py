"""From a storage URI and the environment's credentials to an ObjectStore."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.claim_uri import CLAIM_SCHEME, CLAIMS_DIR, claim_of, folder_of
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.contract.storage_schemes import STORAGE_SCHEMES, credential_variables
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.interface import InvalidCredentials, ObjectStore, StoreError
from deepseek_workloads.store.obstore_ranges import is_installed
from deepseek_workloads.store.retry import RetryPolicy


class InvalidStorageUri(StoreError):
    reason = "InvalidRunConfig"


def open_store(
    storage: Storage,
    *,
    environ: Mapping[str, str] = os.environ,
    retry: RetryPolicy | None = None,
    fast_reads: bool | None = None,
    claims_dir: Path = Path(CLAIMS_DIR),
) -> ObjectStore:
    """Opens nothing yet: the first call connects.

    `fast_reads`: ranges of s3:// through obstore; None: where it is installed, unless the environment says
    DEEPSEEK_FAST_READS=off. `claims_dir`: where the claims of pvc:// are mounted, each by its name.

    Without keys in `environ` botocore's own chain is asked (a web identity, an instance role). Raises
    InvalidStorageUri for a scheme that is not known, or a URI without a bucket or folder.
    """
    parts = urlsplit(storage.uri)
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return FileObjectStore(Path(parts.path))
    if parts.scheme == CLAIM_SCHEME:
        return _open_claim(storage.uri, claims_dir)
    if parts.scheme not in STORAGE_SCHEMES or not parts.netloc:
        raise InvalidStorageUri(
            f"storage.uri: {storage.uri!r}: must name a bucket or a folder; "
            "write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, pvc://CLAIM/FOLDER or "
            "file:///FOLDER"
        )
    if parts.scheme != "s3":
        return _open_with_obstore(storage, environ=environ, retry=retry)
    from deepseek_workloads.store.s3 import S3ObjectStore  # 0.5 s of imports that file:// does not need

    return S3ObjectStore(
        parts.netloc,
        prefix=parts.path,
        endpoint_url=storage.endpoint_url,
        region=storage.region,
        access_key_id=environ.get(environment.AWS_ACCESS_KEY_ID),
        secret_access_key=environ.get(environment.AWS_SECRET_ACCESS_KEY),
        session_token=environ.get(environment.AWS_SESSION_TOKEN),
        retry=retry,
        fast_reads=False if environ.get(environment.FAST_READS) == "off" else fast_reads,
    )


def _open_with_obstore(
    storage: Storage, *, environ: Mapping[str, str], retry: RetryPolicy | None
) -> ObjectStore:
    if not is_installed():
        raise InvalidStorageUri(
            f"storage.uri: {storage.uri!r}: needs obstore, which this environment lacks; install the extra "
            "fast-reads, as the worker image has it, or use s3:// or file://"
        )
    from deepseek_workloads.store import obstore_services  # here, as obstore may not be installed
    from deepseek_workloads.store.obstore_objects import ObstoreObjectStore

    parts = urlsplit(storage.uri)
    open_service = {"gs": obstore_services.google_store, "az": obstore_services.azure_store}[parts.scheme]
    try:
        service = open_service(parts.netloc, endpoint_url=storage.endpoint_url, environ=environ)
    except Exception as error:  # obstore's: what it cannot make of the settings, which it names
        raise InvalidCredentials(
            f"{storage.uri}: {type(error).__name__}: check the keys of the credentials Secret: "
            f"{', '.join(credential_variables(parts.scheme))}"
        ) from None
    return ObstoreObjectStore(service, uri=storage.uri, prefix=parts.path, retry=retry)


def _open_claim(uri: str, claims_dir: Path) -> ObjectStore:
    try:
        claim, folder = claim_of(uri), folder_of(uri)
    except ValueError as error:
        raise InvalidStorageUri(f"storage.uri: {error}; write pvc://CLAIM/FOLDER") from error
    mounted = claims_dir / (claim or "")
    if not mounted.is_dir():
        raise InvalidStorageUri(
            f"storage.uri: {uri!r}: no PersistentVolumeClaim is mounted at {mounted}; outside of the pods of "
            "a run, name the folder by file:///FOLDER"
        )
    return FileObjectStore(mounted / folder, uri=uri)
