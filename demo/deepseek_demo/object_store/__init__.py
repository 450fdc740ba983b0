"""A real S3 server (versitygw) in a cluster: accounts, policies, data that outlive pod and cluster."""

from deepseek_demo.object_store.accounts import Credentials, ObjectStore
from deepseek_demo.object_store.install import install_object_store, reached_at, write_image_archive
from deepseek_demo.object_store.resources import IMAGE, NAME, PORT, Installation, namespace, secret

__all__ = [
    "IMAGE",
    "NAME",
    "PORT",
    "Credentials",
    "Installation",
    "ObjectStore",
    "install_object_store",
    "namespace",
    "reached_at",
    "secret",
    "write_image_archive",
]
