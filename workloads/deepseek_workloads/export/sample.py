"""python -m deepseek_workloads.export.sample --uri s3://models/tiny --prompt "The kernel"

Prints the prompt and its continuation by an exported model, verified as it is read. Credentials come from the
environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).
"""

import argparse
import sys
from contextlib import closing

import torch

from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.records import ExportRecord
from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.generate import Sampling, generate
from deepseek_workloads.export.load import LoadedExport, load_export
from deepseek_workloads.export.publish import EXPORT_MANIFEST
from deepseek_workloads.store.interface import NotFound, ObjectStore, StoreError
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.store.open import open_store


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deepseek_workloads.export.sample", description=__doc__)
    parser.add_argument(
        "--uri", required=True, help="an export (.../exports/sha256-...) or a job's storage.uri"
    )
    parser.add_argument("--endpoint-url", help="of the S3 server; default: AWS")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the most probable token")
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same text")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(argv)


def newest_export(store: ObjectStore) -> str | None:
    """The digest to load at `store`: None when it lies at an export itself, else the newest of the job's log.

    Raises NotFound when there is neither.
    """
    try:
        store.stat(EXPORT_MANIFEST)
    except NotFound:
        records = [entry.record for entry in CommitLog(store).records()]
        digests = [record.digest for record in records if isinstance(record, ExportRecord)]
        if not digests:
            raise NotFound(
                f"{store.uri}: neither an export nor the storage of a job that exported one; "
                "see .status.export.uri of the job"
            ) from None
        return digests[-1]
    return None


def continuation(export: LoadedExport, prompt: str, sampling: Sampling) -> str:
    """The text after `prompt`."""
    ids = export.tokenizer.encode(prompt, add_special_tokens=False).ids
    stop = () if export.eos_token_id is None else (export.eos_token_id,)
    new = list(generate(export.model, ids, sampling=sampling, stop=stop))
    # Decoded together: the first new token may end a character that the prompt's last one began.
    return str(export.tokenizer.decode(ids + new))[len(export.tokenizer.decode(ids)) :]


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    storage = Storage(uri=arguments.uri, endpoint_url=arguments.endpoint_url, region=arguments.region)
    try:
        sampling = Sampling(
            max_tokens=arguments.max_tokens,
            temperature=arguments.temperature,
            top_p=arguments.top_p,
            seed=arguments.seed,
        )
        with closing(open_store(storage)) as store:
            export = load_export(store, newest_export(store), device=arguments.device)
        print(arguments.prompt + continuation(export, arguments.prompt, sampling))
    except (ExportError, StoreError, ValueError) as error:
        print(error, file=sys.stderr)
        transient = isinstance(error, StoreError) and error.transient
        return ExitCode.TRY_AGAIN if transient else ExitCode.BAD_INPUT
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
