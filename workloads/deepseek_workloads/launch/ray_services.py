"""Ray's daemons without those that a run never uses: in `ray start`'s process, before it starts them.

On a pod Ray would start, besides the GCS and the raylet, a dashboard (head), a dashboard agent with a Jobs
API, an agent that makes runtime environments (every pod) and a Ray Client server (head). Nobody uses them
here; each is an open port, and a Python process of 90-150 MB whose imports a start waits for (a raylet gives
up on an agent that needs 15 s for them). A task or actor that asks for a runtime environment fails.

The only module that leans on private names of Ray's services; the version is pinned to a minor, and
`tests/parity/workloads/launch` runs it for real.
"""

from collections.abc import Callable, Sequence
from typing import Any

_AGENT_COMMANDS = ("--dashboard_agent_command=", "--runtime_env_agent_command=")
# A raylet insists on its agents, adds options of its own, and dies with them: this one only lives.
IDLE_AGENT = 'sh -c "exec sleep infinity"'
NOT_IN_USE = -1  # what an agent without these services would write


def leave_out_unused_servers() -> None:
    from ray._private import services
    from ray.scripts import scripts

    absent = ImportError("not used on the pods of a run")
    scripts.get_ray_client_dependency_error = lambda: absent
    services.start_api_server = lambda *_, **__: ("", None)  # the dashboard: no URL, no process
    services.start_ray_process = _without_agents(services.start_ray_process)


def _without_agents(start: Callable[..., Any]) -> Callable[..., Any]:
    """Around the function that starts each daemon: the raylet gets idle processes as its agents."""

    def start_ray_process(command: Sequence[str], *arguments: Any, **options: Any) -> Any:
        if any(argument.startswith(_AGENT_COMMANDS) for argument in command):
            _answer_for_agents(command)
        return start(with_ready_process(without_agents(command)), *arguments, **options)

    return start_ray_process


def without_agents(command: Sequence[str]) -> list[str]:
    """Of a raylet; other daemons' command lines are left alone."""
    return [_idle_agent(argument) for argument in command]


def with_ready_process(command: Sequence[str]) -> list[str]:
    """Of the head's raylet, which else keeps none ready, as it offers no CPU: one for the controller."""
    none, one = (f"--num_prestart_python_workers={count}" for count in (0, 1))
    return [one if argument == none else argument for argument in command]


def _idle_agent(argument: str) -> str:
    name = next((name for name in _AGENT_COMMANDS if argument.startswith(name)), None)
    return argument if name is None else name + IDLE_AGENT


def _answer_for_agents(command: Sequence[str]) -> None:
    """A raylet waits for files in which its agents name their ports. None is in use; of the agent for runtime
    environments it takes a true port only."""
    from ray import _raylet

    raylet: Any = _raylet  # a compiled module without types
    session_dir, node_id = option(command, "session_dir"), option(command, "node_id")
    ports = {
        raylet.METRICS_AGENT_PORT_NAME: NOT_IN_USE,
        raylet.METRICS_EXPORT_PORT_NAME: NOT_IN_USE,
        raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME: NOT_IN_USE,
        raylet.RUNTIME_ENV_AGENT_PORT_NAME: int(option(command, "runtime_env_agent_port")),
    }
    for name, port in ports.items():
        raylet.persist_port(session_dir, node_id, name, port)


def option(command: Sequence[str], name: str) -> str:
    """The value of `--name=value`. Raises LookupError."""
    for argument in command:
        if argument.startswith(f"--{name}="):
            return argument.partition("=")[2]
    raise LookupError(f"--{name} is not among the raylet's options; is this Ray 2.60?")
