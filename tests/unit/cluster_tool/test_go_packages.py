"""The Go packages of our own have their tests beside them; they run with this tier."""

import os
import subprocess

from local_kubernetes.build import MODULES


def test_the_go_packages_pass_their_tests() -> None:
    # Flags as in the build, so that what it compiled is used again; vet would compile all of Kubernetes anew.
    command = ["go", "test", "-trimpath", "-vet=off", "./deviceplugin", "./networkpolicy"]
    done = subprocess.run(
        command,
        cwd=MODULES / "kubernetes",
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
