"""What stands between a REST catalog and those who use it, so that it does what a test is about."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from tests.servers import LOCALHOST, RestCatalogServer

TRANSACTION = "/v1/transactions/commit"
CONFIG = "/v1/config"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""


Asks = Callable[[], Answer]
Acts = Callable[[str, str, Asks], Answer | None]
"""Of a method, a path and a function that asks the catalog: what is answered; None: the connection is lost."""


@contextmanager
def between(server: RestCatalogServer, acts: Acts) -> Iterator[RestCatalogServer]:
    """In threads of this process."""
    listening = _listening(server, acts)
    thread = Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield _address(listening)
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@contextmanager
def atomic(server: RestCatalogServer) -> Iterator[RestCatalogServer]:
    """Asked for one thing after another, so that nobody comes between the tables of a commit to several.

    In a process of its own, so that this one may be forked.
    """
    lock = Lock()

    def acts(method: str, path: str, asks: Asks) -> Answer:
        with lock:
            return asks()

    listening = _listening(server, acts)
    process = multiprocessing.get_context("fork").Process(target=listening.serve_forever)
    process.start()
    listening.socket.close()
    try:
        yield _address(listening)
    finally:
        process.kill()  # another test may have had SIGTERM ignored in this process, and so in that one
        process.join()


def without_transactions(method: str, path: str, asks: Asks) -> Answer:
    """A catalog that says of itself that it commits to one table at a time, and does no other."""
    if path == TRANSACTION:
        return Answer(404)
    answer = asks()
    if not path.startswith(CONFIG):
        return answer
    config = json.loads(answer.body)
    endpoints = [each for each in config["endpoints"] if not each.endswith("/transactions/commit")]
    return Answer(answer.status, json.dumps({**config, "endpoints": endpoints}).encode())


def _address(listening: ThreadingHTTPServer) -> RestCatalogServer:
    return RestCatalogServer(f"http://{LOCALHOST}:{listening.server_port}")


def _listening(server: RestCatalogServer, acts: Acts) -> ThreadingHTTPServer:
    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def asks() -> Answer:
                behind = HTTPConnection(server.uri.removeprefix("http://"))
                headers = {"Content-Type": "application/json"}
                behind.request(self.command, self.path, body or None, headers)
                response = behind.getresponse()
                answer = Answer(response.status, response.read())
                behind.close()
                return answer

            answer = acts(self.command, self.path, asks)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = do_DELETE = _do

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer((LOCALHOST, 0), Between)
