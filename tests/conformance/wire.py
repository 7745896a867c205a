"""HTTP/1.1 by hand, for what a polite client library hides: interim answers (100, 102), odd paths, requests
that are sent in pieces, and answers that arrive before the request is finished."""

import json
import select
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Answer:
    """One final answer and the interim ones that came before it."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[int] = field(default_factory=list)
    seconds: float = 0.0
    longest_silence: float = 0.0

    def json(self):
        return json.loads(self.body)


class Connection:
    """A plain TCP connection to the server at `base`; `timeout` bounds every single read."""

    def __init__(self, base: str, timeout: float = 60.0):
        parts = urlsplit(base)
        self.prefix = parts.path.rstrip("/")
        self.host = f"{parts.hostname}:{parts.port or 80}"
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout)
        self.buffer = b""
        self.begun = time.monotonic()
        self.heard = self.begun
        self.longest_silence = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def head(self, method: str, path: str, headers: dict[str, str]) -> None:
        """Sends the request line and the headers. `path` goes out byte for byte."""
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.begun = self.heard = time.monotonic()
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def send(self, body: bytes, piece: int = 1 << 16) -> bool:
        """Sends the body; stops, and says False, as soon as the server has something to say or hangs up."""
        for start in range(0, len(body), piece):
            readable, _, _ = select.select([self.socket], [], [], 0)
            if readable:
                return False
            try:
                self.socket.sendall(body[start : start + piece])
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True

    def send_chunked(self, body: bytes, piece: int = 1 << 16) -> bool:
        """The same in the chunked transfer coding."""
        for start in range(0, len(body), piece):
            part = body[start : start + piece]
            if not self.send(f"{len(part):x}\r\n".encode() + part + b"\r\n", piece=1 << 20):
                return False
        return self.send(b"0\r\n\r\n")

    def _more(self) -> None:
        received = self.socket.recv(1 << 16)
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - self.heard)
        self.heard = now
        if not received:
            raise ConnectionError(f"the server closed the connection after {self.buffer[:200]!r}")
        self.buffer += received

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        part, self.buffer = self.buffer.split(mark, 1)
        return part

    def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self._more()
        part, self.buffer = self.buffer[:count], self.buffer[count:]
        return part

    def read_head(self) -> tuple[int, dict[str, str]]:
        """The next status line with its headers (names in lower case), interim or final."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return status, headers

    def answer(self, method: str = "POST") -> Answer:
        """Reads up to and including the final answer."""
        interim = []
        status, headers = self.read_head()
        while 100 <= status < 200:
            interim.append(status)
            status, headers = self.read_head()
        if method == "HEAD" or status == 204:
            body = b""
        elif "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                body += self._exactly(size)
                self._exactly(2)
            self._until(b"\r\n")
        else:
            body = self._exactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, body, interim, time.monotonic() - self.begun, self.longest_silence)


def exchange(
    base: str, method: str, path: str, headers: dict[str, str], body: bytes = b"", timeout: float = 60.0
) -> Answer:
    """One request with a `Content-Length`, one answer."""
    with Connection(base, timeout) as connection:
        if body or method in ("POST", "PUT"):
            headers = {**headers, "Content-Length": str(len(body))}
        connection.head(method, path, headers)
        connection.send(body)
        return connection.answer(method)
