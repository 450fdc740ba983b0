"""What goes wrong with the local Kubernetes, in words that name the thing in the way and the remedy."""


class LocalKubernetesError(Exception):
    """Base of all errors that the tool raises on purpose; its text is meant for the person at the
    terminal."""


class CommandError(LocalKubernetesError):
    """A program that the tool called failed; the text holds what it wrote to standard error."""


class InTheWayError(LocalKubernetesError):
    """Something that is not ours holds a name, an address or a port that the cluster needs."""


class DeadlineError(LocalKubernetesError):
    """Something did not become true in time."""
