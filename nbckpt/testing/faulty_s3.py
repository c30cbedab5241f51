"""An S3 server that is away, slow or confused now and then: moto's, with a proxy in front of it.

    python -m nbckpt.testing.faulty_s3 --chance 0.1

Prints the addresses of both, and ends when stdin does. What goes wrong with a request stands in `nbckpt.testing.proxy`.
"""

from __future__ import annotations

import argparse
import sys

from nbckpt.testing.proxy import FaultyProxy


def main() -> None:
    """Serve until stdin ends."""
    from moto.server import ThreadedMotoServer

    parser = argparse.ArgumentParser(prog="python -m nbckpt.testing.faulty_s3")
    parser.add_argument("--chance", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with FaultyProxy(f"http://{host}:{port}", chance=given.chance, seed=given.seed) as proxy:
        sys.stdout.write(f"http://{host}:{port} {proxy.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
