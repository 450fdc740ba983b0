"""Ranges of S3 objects through obstore (Rust), where it is installed: less work for the processor than s3fs.

It reads and says nothing else: whatever goes wrong, `read` answers None, and the caller asks s3fs, whose
errors are told apart. Retries and hedges are the caller's too.
"""

from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from deepseek_workloads.store.interface import ByteRange, ObjectInfo

_CLIENT = {
    "timeout": "60s",
    "connect_timeout": "5s",
    "pool_max_idle_per_host": "32",
    "pool_idle_timeout": "90s",
}
_NO_RETRIES = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}


def is_installed() -> bool:
    return find_spec("obstore") is not None


@dataclass(frozen=True)
class Keys:
    access_key_id: str
    secret_access_key: str
    session_token: str | None


class ObstoreRanges:
    """Of one bucket. Raises ImportError without obstore."""

    def __init__(self, bucket: str, *, endpoint_url: str | None, region: str, keys: Keys | None) -> None:
        """`keys` None: boto3's own chain is asked (a web identity, an instance role)."""
        import obstore  # here, as it may not be installed
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        settings: dict[str, Any] = {"region": region, "virtual_hosted_style_request": endpoint_url is None}
        if endpoint_url is not None:
            settings["endpoint"] = endpoint_url
        if keys is not None:
            settings |= {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key}
            if keys.session_token:
                settings["session_token"] = keys.session_token
        else:
            from obstore.auth.boto3 import Boto3CredentialProvider

            settings["credential_provider"] = Boto3CredentialProvider()
        plain = endpoint_url is not None and endpoint_url.startswith("http://")
        self._get: Any = obstore.get_async
        self._failures: tuple[type[BaseException], ...] = (BaseError, OSError)
        self._store = S3Store(
            bucket,
            client_options={**_CLIENT, "allow_http": plain},
            retry_config=_NO_RETRIES,
            **settings,
        )

    async def read(self, key: str, asked: ByteRange) -> bytes | None:
        """`key` within the bucket. None where not exactly these bytes of the pinned object came."""
        found = await self.read_with_info(key, asked)
        if found is None or len(found[0]) != asked.end - asked.start:
            return None
        return found[0]

    async def read_with_info(self, key: str, asked: ByteRange) -> tuple[bytes, ObjectInfo] | None:
        """Likewise, and the object that they are of; fewer bytes where it ends before."""
        options: dict[str, Any] = {"range": (asked.start, asked.end)}
        if asked.etag:
            options["if_match"] = f'"{asked.etag}"'
        try:
            result = await self._get(self._store, key, options=options)
            content = bytes(await result.bytes_async())
        except self._failures:
            return None
        info = ObjectInfo(asked.key, int(result.meta["size"]), (result.meta["e_tag"] or "").strip('"'))
        return (content, info) if asked.etag in (None, info.etag) else None
