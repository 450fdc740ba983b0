import subprocess
from pathlib import Path

import pytest

UNPACK = Path(__file__).parents[2] / "docker" / "horovod" / "unpack"


@pytest.fixture(scope="session")
def horovod_site() -> str:
    """A folder for PYTHONPATH with Horovod; it is built where no earlier run has left it."""
    built = subprocess.run([UNPACK], check=True, stdout=subprocess.PIPE, text=True)
    return built.stdout.strip()
