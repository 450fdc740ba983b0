"""The outcome of a preparation as the operator reads it. Pure."""

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.records import SplitStatistics
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.manifest import PinnedManifest


def succeeded(run: DatasetRun, published: PinnedManifest) -> Verdict:
    manifest = published.manifest
    train = manifest.statistics.get("train", SplitStatistics())
    held_out = manifest.statistics.get("heldOut", SplitStatistics())
    statistics: dict[str, float] = {
        "documents": train.documents + held_out.documents,
        "tokens": train.tokens + held_out.tokens,
        "bytes": train.bytes + held_out.bytes,
        "heldOutDocuments": held_out.documents,
        "heldOutTokens": held_out.tokens,
        "vocabSize": manifest.vocab_size,
        "documentsIn": manifest.documents_in,
        "emptyDocuments": manifest.empty_documents,
        "duplicatesDropped": manifest.duplicates_dropped,
        "badRecords": manifest.bad_records,
    }
    if held_out.unigram_bits_per_byte is not None:
        statistics["unigramBitsPerByte"] = held_out.unigram_bits_per_byte
    return Verdict(
        outcome="Succeeded",
        reason=reasons.COMPLETED,
        message=f"{train.documents + held_out.documents} documents, {train.tokens + held_out.tokens} tokens",
        exit_code=ExitCode.DONE,
        digest=published.digest,
        uri=run.storage.uri,
        statistics=statistics,
        report_digest=manifest.report.digest if manifest.report else "",
    )


def failed(reason: str, message: str) -> Verdict:
    return Verdict(outcome="Failed", reason=reason, message=message, exit_code=ExitCode.BAD_INPUT)


def try_again(reason: str, message: str) -> Verdict:
    return Verdict(outcome="Retry", reason=reason, message=message, exit_code=ExitCode.TRY_AGAIN)
