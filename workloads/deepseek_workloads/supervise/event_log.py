"""One JSON line for each thing that a supervisor does: `kubectl logs` of a pod reads as its history."""

import json
import sys
from datetime import UTC, datetime


def log(event: str, **fields: object) -> None:
    """`fields` must hold no secret. Anything that JSON does not know is written as text."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": now, "component": "supervisor", "event": event, **fields}, default=str)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
