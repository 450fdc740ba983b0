"""The command line: up, down, status, load, binary, and faults by hand."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from local_kubernetes import build, packages
from local_kubernetes.cluster import Cluster, attach, down, up
from local_kubernetes.errors import LocalKubernetesError
from local_kubernetes.settings import Settings
from local_kubernetes.status import describe, render

_FAULTS: dict[str, Callable[[Cluster, str], None]] = {
    "kill-node": Cluster.kill_node,
    "start-node": Cluster.start_node,
    "partition-node": Cluster.partition_node,
    "heal-node": Cluster.heal_node,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status; errors go to standard error as one paragraph."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except LocalKubernetesError as error:
        print(f"local-kubernetes: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a time limit, for instance, on a machine that is too busy
        words = f"{type(error).__name__}: {error}; `make cluster-down` removes what was begun"
        print(f"local-kubernetes: {words}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "binary":
        print(build.binary(options.program))
    elif options.command == "image-tools":
        packages.ensure(packages.IMAGE_PROGRAMS)
    elif options.command == "up":
        cluster = up(_settings(options), report=_Clock().report)
        print(json.dumps(describe(cluster), indent=2) if options.json else render(describe(cluster)))
    elif options.command == "down":
        down(_settings(options).state_dir)
        print(f"nothing is left of cluster {_settings(options).name}; data in its volumes folder stay")
    else:
        _run_on_cluster(options, _attached(options))


def _run_on_cluster(options: argparse.Namespace, cluster: Cluster) -> None:
    if options.command == "status":
        print(json.dumps(describe(cluster), indent=2) if options.json else render(describe(cluster)))
    elif options.command == "load":
        cluster.load_image_archive(options.archive)
    else:
        _FAULTS[options.command](cluster, options.node)


def _attached(options: argparse.Namespace) -> Cluster:
    state_dir = _settings(options).state_dir
    cluster = attach(state_dir)
    if cluster is None:
        raise LocalKubernetesError(f"no cluster runs in {state_dir}: boot one: make cluster")
    return cluster


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        name=options.name,
        mode=getattr(options, "mode", "nodes"),
        nodes=getattr(options, "nodes", 2),
        gpus_per_node=getattr(options, "gpus_per_node", 4),
        state_dir=options.state or Path(),
    )


class _Clock:
    """Says each step with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def report(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local_kubernetes", description="A real Kubernetes on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--name", default="deepseek", help="the cluster's name")
    which.add_argument("--state", type=Path, help="its state folder; default: one named after it")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="JSON in place of a table")

    boot = commands.add_parser("up", parents=[which, as_json], help="boot it, or take the one that runs")
    boot.add_argument("--mode", choices=("nodes", "control-plane"), default="nodes")
    boot.add_argument("--nodes", type=int, default=2, help="how many; all but node1 form the GPU pool")
    boot.add_argument("--gpus-per-node", type=int, default=4, help="fake GPUs of each node in the pool")
    commands.add_parser("down", parents=[which], help="remove it and all it made")
    commands.add_parser("status", parents=[which, as_json], help="what it is and how to reach it")
    load = commands.add_parser("load", parents=[which], help="give its nodes the images of an archive")
    load.add_argument("archive", type=Path, help="OCI or docker image archive")
    for fault in _FAULTS:
        command = commands.add_parser(fault, parents=[which], help="see the name")
        command.add_argument("node")
    program = commands.add_parser("binary", help="build a program if needed and print its path")
    program.add_argument("program", choices=sorted(build.RECIPES))
    commands.add_parser("image-tools", help="install what builds images (buildah, debootstrap)")
    return parser
