"""The proxy in a process of its own: prints its URL, and runs until its standard input ends."""

import argparse
import sys

from local_object_store.proxy import Proxy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    with Proxy(options.upstream, latency_seconds=options.latency_ms / 1000) as proxy:
        sys.stdout.write(f"{proxy.endpoint_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
