"""Documents that a stage could not treat, as the quarantine has them."""

import json
from dataclasses import dataclass
from typing import Final

from deepseek_workloads.data.prepare.reading import QUARANTINED_BYTES

EXAMPLES: Final = 3
QUARANTINED_RECORDS: Final = 1000  # of a part and stage; the others are counted only


@dataclass(frozen=True)
class Refused:
    """What it says is for the quarantine only: status, Events and logs are read by more people."""

    document: str
    reason: str

    def to_json(self) -> bytes:
        kept = self.document[:QUARANTINED_BYTES]
        return json.dumps({"reason": self.reason, "document": kept}, ensure_ascii=False).encode() + b"\n"
