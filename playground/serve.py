"""A server of the built page on this machine, such as any other, which keeps what it was asked for: `python -m playground.serve`."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playground.build import SITE


@dataclass
class Served:
    """Address of the page, and the paths that were asked for."""

    address: str
    asked: list[str] = field(default_factory=list)


class _Handler(SimpleHTTPRequestHandler):
    """Files as they are, nothing compressed on the way."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_GET(self) -> None:
        """Keep what is asked for, and send it."""
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is not an error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Served]:
    """Serve a folder on localhost, where a browser trusts a page as it does one with https."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"asked": asked})
    with _Server(("127.0.0.1", port), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Served(f"http://localhost:{server.server_port}/", asked)
        server.shutdown()


if __name__ == "__main__":
    with serving(SITE, 8000) as served:
        print(f"{served.address} until Enter is pressed")  # noqa: T201 - a command
        input()
