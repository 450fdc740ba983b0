"""Debian packages as files: fetched by apt without being installed, read without being unpacked.

It knows apt and dpkg-deb, nothing about what is in a package.
"""

import hashlib
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepseek_demo.commands import StepFailed, output, require, run

# Without the second, apt warns that its own user cannot write where root downloads to.
_APT = ["apt-get", "-o", "APT::Sandbox::User=root"]


@dataclass(frozen=True)
class Package:
    """One package as the mirror has it now. `sha256` is hexadecimal."""

    name: str
    file_name: str
    sha256: str


def candidates(names: Sequence[str], *, log: Path) -> list[Package]:
    """What apt would download. Refreshes apt's lists once if it does not know a package."""
    require(["apt-get", "dpkg-deb"], purpose="the demo's text, which comes from Debian packages,")
    try:
        return _candidates(names)
    except StepFailed:
        run([*_APT, "update"], log=log)
        return _candidates(names)


def fetch(package: Package, *, directory: Path, log: Path) -> Path:
    """The package's file below `directory`, downloaded unless it is there with the right digest."""
    path = directory / package.file_name
    if path.is_file() and _sha256(path) == package.sha256:
        return path
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as work:
        run([*_APT, "download", package.name], log=log, cwd=Path(work))
        downloaded = next(Path(work).glob("*.deb"))
        if (found := _sha256(downloaded)) != package.sha256:
            raise StepFailed(
                f"{package.file_name} has SHA-256 {found}, the mirror's index says {package.sha256}: "
                "run apt-get update and try again",
                log=log,
            )
        downloaded.rename(path)
    return path


def members(package: Path) -> Iterator[tuple[str, bytes]]:
    """(path below /, content) of every regular file, in the order of the paths."""
    with tempfile.TemporaryFile() as data:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=data, check=True)
        data.seek(0)
        with tarfile.open(fileobj=data) as archive:
            for member in sorted(filter(tarfile.TarInfo.isfile, archive), key=lambda found: found.name):
                content = archive.extractfile(member)
                if content is not None:
                    yield member.name.removeprefix("./"), content.read()


def _candidates(names: Sequence[str]) -> list[Package]:
    """Lines of --print-uris: 'URI' file-name size SHA256:digest."""
    found = {}
    for line in output([*_APT, "download", "--print-uris", *names]).splitlines():
        _, file_name, _, checksum = shlex.split(line)
        name = file_name.partition("_")[0]
        found[name] = Package(name, file_name, checksum.removeprefix("SHA256:"))
    if missing := sorted(set(names) - set(found)):
        raise StepFailed(
            f"apt knows no package {', '.join(missing)}: the demo's text needs Debian 12's packages"
        )
    return [found[name] for name in names]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
