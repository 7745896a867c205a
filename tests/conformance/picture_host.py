"""The tester's own picture site on loopback: the two pictures, and every way in which such a site can misbehave.
It remembers each request, so a test can tell that an address was never asked or that no key was passed on."""

import contextlib
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pictures

# An endless download is given up here, so that a server without a limit fails its test instead of filling memory.
ENDLESS_STOPS_AT = 400 << 20


class _Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self.server.host.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        page = self.server.host.pages.get(unquote(parts.path))
        if parts.path == "/redirect":
            self._redirect(query["to"], int(query.get("code", "302")))
        elif parts.path == "/hops":
            left = int(query["left"])
            self._redirect(f"/hops?left={left - 1}" if left > 1 else "/subject.png", 302)
        elif parts.path == "/slow.png":
            time.sleep(float(query.get("seconds", "30")))
            self._send(200, "image/png", pictures.SUBJECT)
        elif parts.path == "/trickle.png":
            self._trickle(float(query.get("seconds", "30")))
        elif parts.path == "/endless.png":
            self._endless()
        elif page:
            self._send(200, *page)
        else:
            self._send(404, "text/html", b"<html>no such page</html>")

    def _send(self, status: int, media: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self, to: str, code: int) -> None:
        self.send_response(code)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _trickle(self, seconds: float) -> None:
        """One byte at a time: never silent for long, never finished in time."""
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(pictures.SUBJECT)))
        self.end_headers()
        ends = time.monotonic() + seconds
        for value in pictures.SUBJECT:
            if time.monotonic() > ends:
                break
            self.wfile.write(bytes([value]))
            self.wfile.flush()
            time.sleep(0.1)

    def _endless(self) -> None:
        """A picture whose bytes never end, without a `Content-Length` that would give it away."""
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        sent, block = len(pictures.SUBJECT), bytes(1 << 20)
        try:
            self.wfile.write(pictures.SUBJECT)
            while sent < ENDLESS_STOPS_AT:
                self.wfile.write(block)
                sent += len(block)
        except OSError:
            pass
        self.server.host.endless_sent.append(sent)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the server under test hung up, which is its right
            super().handle()

    def log_message(self, *_) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: "PictureHost"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the HTTP class looks its own name up in the DNS here


class _Server6(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # its IPv4 twin has the same port
        super().server_bind()


class PictureHost:
    """`bind` is where it listens; `name` is what the server under test is told to call it."""

    def __init__(self, bind: str = "127.0.0.1", port: int = 0, name: str | None = None):
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.endless_sent: list[int] = []
        self.pages: dict[str, tuple[str, bytes]] = {
            "/subject.png": ("image/png", pictures.SUBJECT),
            "/material.png": ("image/png", pictures.MATERIAL),
            "/half.png": ("image/png", pictures.SUBJECT[: len(pictures.SUBJECT) // 2]),
            "/mislabelled.bin": ("application/octet-stream", pictures.SUBJECT),
            "/page.html": ("text/html", b"<!doctype html><title>not a picture</title>"),
            "/page.png": ("image/png", b"<!doctype html><title>not a picture either</title>"),
            "/drawing.svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="128" height="96"/>'),
        }
        self.server = (_Server6 if ":" in bind else _Server)((bind, port), _Site)
        self.server.host = self
        self.port = self.server.server_address[1]
        self.base = f"http://{name or bind}:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __call__(self, path: str) -> str:
        """The full address of a page."""
        return self.base + path

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
