"""How property tests run: without a deadline, as timings are not asserted; in CI with the same examples every
time, as a gate must not depend on luck."""

import os

from hypothesis import settings

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
