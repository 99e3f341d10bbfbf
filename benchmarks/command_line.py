"""The command line of a client: the address of a page and options in, figures as JSON out."""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Coroutine, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvloop

from benchmarks.limits import more_descriptors


class Address(NamedTuple):
    """The address of a page."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Return the address in a URL. Raise `argparse.ArgumentTypeError`."""
        parts = urlsplit(url)
        if parts.hostname is None:
            raise argparse.ArgumentTypeError(f"{url!r} names no host")
        return cls(parts.hostname, parts.port or 80, parts.path or "/")

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"


def client_parser(
    description: str | None, clients: Iterable[str] = (), *, is_timed: bool = True
) -> argparse.ArgumentParser:
    """Return a parser for what every client is given: its name, if there are several `clients`, a URL, and seconds.

    One that is not timed ignores the seconds.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    if clients:
        parser.add_argument("client", choices=[*clients])
    parser.add_argument("url", type=Address.parse)
    parser.add_argument("--seconds", type=float, default=5.0, help=None if is_timed else "not used")
    return parser


def print_figures(measurement: Coroutine[Any, Any, dict[str, float]]) -> None:
    """Run a measurement and print its figures.

    Without the garbage collector: its pauses here, with thousands of sockets, would count as those of the servers.
    """
    gc.disable()
    more_descriptors()
    print(json.dumps(uvloop.run(measurement)))
