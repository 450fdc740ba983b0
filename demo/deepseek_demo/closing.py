"""What the demo ends with: state, measurements, answers, where everything lies, what to try next."""

import shlex
from collections.abc import Mapping

from deepseek_demo import conversation, resources_view, storage_setup
from deepseek_demo.commands import StepFailed
from deepseek_demo.demo import PROMPT, QUESTION, Outcome
from deepseek_demo.resources_view import Object

OURS, BASELINE = "held_out_bits_per_byte", "unigram_bits_per_byte"


def verdict(measurements: Mapping[str, float]) -> str:
    """The model's bits per byte beside the baseline's. Raises StepFailed unless the model's are lower."""
    missing = [name for name in (OURS, BASELINE) if name not in measurements]
    if missing:
        raise StepFailed(
            f"the job's status.evaluation has no {', '.join(missing)}: it has {sorted(measurements)}"
        )
    ours, baseline = measurements[OURS], measurements[BASELINE]
    if ours >= baseline:
        raise StepFailed(
            f"the model has learnt nothing: {ours:.3f} bits a byte of held-out text, and the unigram "
            f"baseline has {baseline:.3f}; raise spec.training.steps of manifests/demo/training-job.yaml"
        )
    return (
        f"held-out text: {ours:.3f} bits a byte; the unigram baseline has {baseline:.3f} "
        f"({100 * (1 - ours / baseline):.0f} % fewer)"
    )


def status_lines(job: Object) -> list[str]:
    """The conditions as kubectl describe would show them, newest last."""
    conditions = sorted(job["status"]["conditions"], key=lambda found: str(found["lastTransitionTime"]))
    width = max(len(found["type"]) for found in conditions)
    return [
        f"  {found['type']:<{width}}  {found['status']:<7} {found['reason']}: {found.get('message', '')}"
        for found in conditions
    ]


def location_lines(usage: Mapping[str, tuple[int, int]], bucket: str) -> list[str]:
    """One line for each prefix of the bucket: URI, objects, size."""
    return [
        f"  s3://{bucket}/{prefix + '/':<24} {count:>5} objects {size / 1e6:>8.1f} MB"
        for prefix, (count, size) in sorted(usage.items())
    ]


def next_commands(outcome: Outcome) -> list[str]:
    """What a user may type now."""
    namespace, job = outcome.job["metadata"]["namespace"], outcome.chat_job["metadata"]["name"]
    kubectl = f"kubectl -n {namespace}"
    place = [outcome.place.hint] if outcome.place.hint else []
    return [
        *place,
        f"{kubectl} get dsdata,dsjob,dsrev,dsserve",
        f"{kubectl} describe dsserve {outcome.service['metadata']['name']}",
        f"{kubectl} describe dsjob {job}",
        "kubectl explain dsserve.spec.rollout",
        f"{kubectl} logs {outcome.chat_job['status']['pods']['coordinator']}",
        "ls manifests/examples",
        "make demo-down",
    ]


def served_lines(outcome: Outcome) -> list[str]:
    """A text of the first revision, answers of the last one, and how they were asked for."""
    api, fingerprint = outcome.api, outcome.by_curl.system_fingerprint
    curl = conversation.curl_command(api.base_url, model=api.model, question=QUESTION)
    name, last = outcome.service["metadata"]["name"], resources_view.revision(outcome.chat_job)
    said = (
        f"then switched to {last}" if outcome.sampled != last else f"answers with {last} since an earlier run"
    )
    return [
        f"\nRevision {outcome.sampled} continued {PROMPT!r}:",
        *(f"  | {line}" for line in outcome.sample.text.splitlines()),
        f"\nThe service {name} {said} (system_fingerprint {fingerprint}):",
        f"  $ {shlex.join(curl)}",
        *(f"  | {line}" for line in outcome.by_curl.text.splitlines()),
        "  OpenAI's client, the same question:",
        *(f"  | {line}" for line in outcome.by_client.text.splitlines()),
    ]


def text(outcome: Outcome) -> str:
    """All of it. Raises StepFailed when the model is not better than the baseline."""
    job, jobs = outcome.job, (outcome.job, outcome.chat_job)
    lines = [
        f"\nDeepSeekTrainingJob {job['metadata']['namespace']}/{job['metadata']['name']}",
        *status_lines(job),
        f"\n{verdict(resources_view.measurements(job))}",
        *served_lines(outcome),
        f"\nIn S3 ({outcome.store.host_endpoint_url} from here, {outcome.store.endpoint_url} for pods):",
        *location_lines(storage_setup.usage(outcome.store), storage_setup.BUCKET),
        *(f"  {resources_view.revision(each)}: {each['status']['export']['uri']}" for each in jobs),
        "\nNext:",
        *(f"  {command}" for command in next_commands(outcome)),
    ]
    return "\n".join(lines)
