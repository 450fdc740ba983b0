"""`python -m deepseek_operator [run | create-key]`.

It turns arguments, environment and failures into settings, log lines and exit codes.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from deepseek_operator.cluster.api_server import ApiServer
from deepseek_operator.cluster.connection import connect
from deepseek_operator.cluster.interface import ClusterError
from deepseek_operator.cluster.leader_election import LeaseLost
from deepseek_operator.cluster.operator_key import OperatorKeyMissing, create_key, operator_key
from deepseek_operator.process import CustomResourcesMissing, run
from deepseek_operator.settings import InvalidSettings, Settings, load_settings

_LOG = logging.getLogger("deepseek_operator")
_EXPECTED = (InvalidSettings, OperatorKeyMissing, CustomResourcesMissing, LeaseLost, ClusterError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when stopped as asked, 1 when a part failed, 2 when it was started wrongly."""
    options = _parser().parse_args(arguments)
    namespaces = tuple(filter(None, options.namespaces.split(","))) if options.namespaces else None
    try:
        settings = load_settings(os.environ, watch_namespaces=namespaces)
        _log(settings)
        if options.command == "create-key":
            asyncio.run(_create_key(settings))
        else:
            asyncio.run(run(settings, key=operator_key(os.environ)))
    except Exception as error:
        failures = _leaves(error)
        if not all(isinstance(failure, _EXPECTED) for failure in failures):
            raise
        for failure in failures:
            print(f"deepseek_operator: {type(failure).__name__}: {failure}", file=sys.stderr)
        return (
            2 if any(isinstance(failure, InvalidSettings | OperatorKeyMissing) for failure in failures) else 1
        )
    return 0


async def _create_key(settings: Settings) -> None:
    name, namespace = settings.key_secret_name, settings.operator_namespace
    client = await connect()
    try:
        created = await create_key(ApiServer(client), name=name, namespace=namespace)
    finally:
        await client.close()
    _LOG.info("Secret %s/%s %s", namespace, name, "created" if created else "is there already: kept")


def _log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    # kopf tells of each event of each object; reconcile says what matters of them.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors of which a group of tasks consists."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deepseek_operator", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "create-key"), default="run")
    parser.add_argument(
        "--namespaces", help="watch only these, separated by commas (DEEPSEEK_WATCH_NAMESPACES)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
