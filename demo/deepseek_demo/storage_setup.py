"""The demo's use of S3: a bucket, a user that may use only it, a Secret with its keys, the text."""

import base64
from collections.abc import Callable

from deepseek_demo import corpus
from deepseek_demo.corpus import Corpus
from deepseek_demo.kubectl import Kubectl
from deepseek_demo.object_store import Credentials, ObjectStore, secret

BUCKET = "research"
USER = "researcher"
SECRET = "s3-credentials"  # noqa: S105 - a name
RAW_PREFIX = "raw/"


def provide_bucket(store: ObjectStore, kubectl: Kubectl, *, namespace: str) -> None:
    """Bucket, user, policy and Secret; a secret key that exists is kept, so that running pods go on."""
    user = _credentials(kubectl, namespace)
    store.create_bucket(BUCKET)
    store.create_user(user)
    store.allow(user.access_key, bucket=BUCKET)
    data = {"AWS_ACCESS_KEY_ID": user.access_key, "AWS_SECRET_ACCESS_KEY": user.secret_key}
    kubectl.apply([secret(SECRET, namespace=namespace, data=data)])


def upload_corpus(
    store: ObjectStore, text: Corpus, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> int:
    """Put the corpus below s3://BUCKET/raw/ and return how many objects were written."""
    return corpus.upload(text, store.client(), bucket=BUCKET, prefix=RAW_PREFIX, progress=progress)


def usage(store: ObjectStore) -> dict[str, tuple[int, int]]:
    """(objects, bytes) by prefix of two levels, for instance models/tiny-moe/."""
    found: dict[str, tuple[int, int]] = {}
    for page in store.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            prefix = "/".join(item["Key"].split("/")[:2])
            count, size = found.get(prefix, (0, 0))
            found[prefix] = (count + 1, size + item["Size"])
    return found


def _credentials(kubectl: Kubectl, namespace: str) -> Credentials:
    found = kubectl.get("secret", SECRET, namespace=namespace)
    if found is None:
        return Credentials.generate(USER)
    data = {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
    return Credentials(data["AWS_ACCESS_KEY_ID"], data["AWS_SECRET_ACCESS_KEY"])
