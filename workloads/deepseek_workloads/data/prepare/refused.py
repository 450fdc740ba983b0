"""Documents that a stage could not treat, as the quarantine has them."""

import json
from dataclasses import dataclass
from typing import Final

from deepseek_workloads.data.prepare.reading import QUARANTINED_BYTES

EXAMPLES: Final = 3
QUARANTINED_RECORDS: Final = 1000  # of a part and stage; the others are counted only


@dataclass(frozen=True)
class Refused:
    """Only `reason` may be shown in status, Events and logs: more people read those than the quarantine."""

    document: str
    reason: str
    said: str = ""  # by another service; it may quote the document

    def to_json(self) -> bytes:
        kept = self.document[:QUARANTINED_BYTES]
        reason = f"{self.reason}: {self.said}" if self.said else self.reason
        return json.dumps({"reason": reason, "document": kept}, ensure_ascii=False).encode() + b"\n"
