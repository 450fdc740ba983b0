"""The condition of a training job's number of nodes: (view) -> what it says. Pure."""

from typing import Final

from deepseek_operator.status.draft import Draft
from deepseek_operator.status.observed import newest
from deepseek_operator.status.pod_state import Trouble, classify
from deepseek_operator.status.size import NODES_MISSING, RESIZED, RESIZING
from deepseek_operator.status.view import View

RESIZE_REFUSED: Final = "ResizeRefused"

_NEVER_READY: Final = (Trouble.IMAGE, Trouble.CONFIG)


def resized(view: View) -> Draft | None:
    """Whether the run has the number of nodes that the spec asks for; None where it always had,
    and where it is suspended: what was said before stays."""
    size, coordinator = view.observed.size, view.coordinator
    if size is None:
        return None
    if view.resizing:
        before = f" in place of {coordinator.nodes or size.pinned}" if coordinator is not None else ""
        message = f"a checkpoint is written, then the run goes on with {size.nodes} nodes{before}"
        return Draft(RESIZED, "False", RESIZING, message)
    if size.problems:
        why = "; ".join(str(problem) for problem in size.problems)
        message = f"{why}; until then the run has {size.nodes} nodes as before"
        return Draft(RESIZED, "False", RESIZE_REFUSED, message)
    earlier, suspended = view.earlier(RESIZED), view.resource.spec.suspend
    if suspended and earlier is not None and earlier.reason != RESIZE_REFUSED:
        return None
    wanted = view.resource.spec.workers.num_nodes
    if size.nodes < wanted:
        message = (
            f"the run goes on with {size.nodes} of {wanted} nodes (spec.workers.minNodes) until standby pods "
            f"have found nodes for more; {_of_standbys(view)}"
        )
        return Draft(RESIZED, "False", NODES_MISSING, message)
    if earlier is None:
        return None
    what = "goes on with" if suspended else "has"
    return Draft(RESIZED, "True", RESIZED, f"the run {what} the {size.nodes} nodes of spec.workers.numNodes")


def _of_standbys(view: View) -> str:
    """What keeps them from standing by, where it is not only nodes that they lack."""
    if view.observed.standbys_refused:
        return f"they are refused: {view.observed.standbys_refused}"
    states = (classify(pod) for pod in newest(view.observed.standbys).values())
    ill = (state.message for state in states if state.counts or state.trouble in _NEVER_READY)
    return next(ill, "they are created from time to time")
