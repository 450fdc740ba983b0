"""Puts a corpus below a prefix of a bucket. An object that is there with the same content is left alone."""

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepseek_demo.corpus.build import Corpus

_THREADS = 8
_DIGEST = "sha256"


def upload(
    corpus: Corpus,
    client: Any,
    *,
    bucket: str,
    prefix: str,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Upload with a boto3 S3 `client` (thread-safe) and return how many objects were written.

    `prefix` ends with "/". `progress` hears objects done and in all. Raises botocore's errors.
    """
    found = list(corpus.objects())
    written = done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for wrote in pool.map(lambda item: _put(client, bucket, prefix + item[0], item[1]), found):
            written += wrote
            done += 1
            progress(done, len(found))
    return written


def _put(client: Any, bucket: str, key: str, path: Path) -> bool:
    content = path.read_bytes()
    digest = hashlib.sha256(content).digest()
    if _stored_digest(client, bucket, key) == digest.hex():
        return False
    client.put_object(
        Bucket=bucket,
        Key=key,
        Body=content,
        ChecksumSHA256=base64.b64encode(digest).decode(),
        Metadata={_DIGEST: digest.hex()},
    )
    return True


def _stored_digest(client: Any, bucket: str, key: str) -> str | None:
    try:
        metadata: dict[str, str] = client.head_object(Bucket=bucket, Key=key)["Metadata"]
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise
    return metadata.get(_DIGEST)
