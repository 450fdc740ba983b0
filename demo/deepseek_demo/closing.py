"""What the demo ends with: the state, the measurements, a sample, where everything lies, what to try next."""

from collections.abc import Mapping

from deepseek_demo import resources_view, storage_setup
from deepseek_demo.commands import StepFailed
from deepseek_demo.demo import Outcome
from deepseek_demo.resources_view import Object

OURS, BASELINE = "held_out_bits_per_byte", "unigram_bits_per_byte"
PROMPT = "The os.path module"


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
    job = outcome.run.job["metadata"]
    kubectl = f"kubectl -n {job['namespace']}"
    place = [outcome.place.hint] if outcome.place.hint else []
    return [
        *place,
        f"{kubectl} get dsdata,dsjob,dsrev",
        f"{kubectl} describe dsjob {job['name']}",
        "kubectl explain dsjob.spec.training",
        f"{kubectl} logs {outcome.run.job['status']['pods']['coordinator']}",
        "ls manifests/examples",
        "make demo-down",
    ]


def text(outcome: Outcome, *, sample: str) -> str:
    """All of it. Raises StepFailed when the model is not better than the baseline."""
    job = outcome.run.job
    export = job["status"]["export"]
    lines = [
        f"\nDeepSeekTrainingJob {job['metadata']['namespace']}/{job['metadata']['name']}",
        *status_lines(job),
        f"\n{verdict(resources_view.measurements(job))}",
        f"\nA sample from the exported model, read from S3 ({PROMPT!r} is the prompt):",
        *(f"  | {line}" for line in sample.splitlines()),
        f"\nIn S3 ({outcome.store.host_endpoint_url} from here, {outcome.store.endpoint_url} for pods):",
        *location_lines(storage_setup.usage(outcome.store), storage_setup.BUCKET),
        f"  the model: {export['uri']}",
        f"  its manifest's digest: {export['digest']}",
        "\nNext:",
        *(f"  {command}" for command in next_commands(outcome)),
    ]
    return "\n".join(lines)
