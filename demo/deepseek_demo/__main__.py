"""`python -m deepseek_demo up | down | images`: what `make demo` and `make demo-down` run.

It turns arguments, environment and failures into settings, text and exit codes.
"""

import argparse
import sys
from collections.abc import Sequence

from deepseek_demo import closing, demo, images, place
from deepseek_demo.commands import StepFailed
from deepseek_demo.console import Console, open_console
from deepseek_demo.down import down
from deepseek_demo.images import Builder
from deepseek_demo.settings import DemoSettings, from_environ
from local_kubernetes import LocalKubernetesError


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 when a step failed, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        with open_console() as console:
            _run(options, from_environ(), console)
    except (StepFailed, LocalKubernetesError) as error:
        print(f"\nfailed: {error}", file=sys.stderr)
        if isinstance(error, StepFailed) and error.log is not None:
            print(f"the log: {error.log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nstopped; `make demo` goes on from here, `make demo-down` removes what is there",
            file=sys.stderr,
        )
        return 130
    return 0


def _run(options: argparse.Namespace, settings: DemoSettings, console: Console) -> None:
    if options.command == "up":
        _up(settings, console)
    elif options.command == "down":
        down(settings, console, purge=options.purge)
    else:
        _images(settings, console, targets=options.targets or images.TARGETS)


def _up(settings: DemoSettings, console: Console) -> None:
    with demo.run(settings, console) as outcome:
        console.print(closing.text(outcome))


def _images(settings: DemoSettings, console: Console, *, targets: Sequence[str]) -> None:
    """Build them; where a local Kubernetes of the demo runs, or a registry is set, also deliver them."""
    builder = Builder(settings.images)
    where = place.find(settings)
    for target in targets:
        with console.step(f"{target} image") as step:
            step.say(f"building; log: {settings.images.log}")
            built = builder.build_one(target)
            ref = built.ref
            if where is not None:
                step.say("giving it to the nodes")
                ref = where.deliver(built)
        console.print(f"  {ref}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepseek_demo", description="Trains a small DeepSeek-V3 on Kubernetes."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="run the demo; what exists is taken")
    build = commands.add_parser("images", help="build the images and give them to the demo's cluster")
    known = [*images.TARGETS, *images.OPTIONAL_TARGETS]
    build.add_argument("targets", nargs="*", choices=known, metavar="TARGET", help=f"of {', '.join(known)}")
    remove = commands.add_parser("down", help="remove what the demo made")
    remove.add_argument("--purge", action="store_true", help="also the caches of images and text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
