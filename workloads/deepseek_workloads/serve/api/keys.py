"""API keys from a mounted Secret: each file is a key. Rotation needs no restart. Keys are never shown."""

import hmac
from pathlib import Path

_BEARER = b"bearer "
Signature = tuple[tuple[str, int, int], ...]


class ApiKeys:
    """Read again whenever a file of the folder has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signature: Signature = ()
        self._keys: tuple[bytes, ...] = ()

    def allow(self, authorization: bytes) -> bool:
        """Of an Authorization header. Without any key in the folder nobody is let in."""
        self._refresh()
        given = authorization[len(_BEARER) :] if authorization[: len(_BEARER)].lower() == _BEARER else b""
        # Every key is compared, in constant time: how long it takes says nothing of them.
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        return any(matches)

    def _refresh(self) -> None:
        try:
            files = sorted(path for path in self._folder.iterdir() if not path.name.startswith("."))
            stats = [(path, path.stat()) for path in files if path.is_file()]
        except OSError:  # not mounted, or it changes this very moment: the keys so far hold
            return
        signature = tuple((path.name, stat.st_mtime_ns, stat.st_ino) for path, stat in stats)
        if signature == self._signature:
            return
        try:
            keys = [path.read_bytes().strip() for path, _ in stats]
        except OSError:
            return
        self._keys, self._signature = tuple(key for key in keys if key), signature
