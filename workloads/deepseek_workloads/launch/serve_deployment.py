"""What Ray Serve runs on each worker. The driver only names it, so it imports next to nothing."""

from typing import Any

from ray import serve


@serve.ingress()
class ModelDeployment:
    """Ray Serve calls the constructor, then `__serve_build_asgi_app__`, and `check_health` from then on."""

    def __init__(self, run_document: str) -> None:
        from deepseek_workloads.launch.replica import Replica  # torch: in the replica's process only

        self._replica = Replica(run_document)

    def __serve_build_asgi_app__(self) -> Any:
        return self._replica.application()

    def check_health(self) -> None:
        self._replica.check_health()
