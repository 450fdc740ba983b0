import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rank_pool import RankPool


@pytest.fixture(scope="session")
def pool() -> Iterator[RankPool]:
    logging.getLogger("torch").setLevel(logging.ERROR)
    started = RankPool()
    yield started
    started.close()
