#!/usr/bin/env python3
"""A checker as operators write them: it looks at the pictures that come and refuses those that are all of one colour. As a
command it reads its question from standard input; `Service` is the same behind a URL."""

import base64
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


def verdict(question: dict) -> dict:
    picture = Image.open(io.BytesIO(base64.b64decode(question["data"]))).convert("RGB")
    plain = all(low == high for low, high in picture.getextrema())
    return {"allowed": not plain, "reason": f"{question['stage']}: nothing to be seen"}


class Service(ThreadingHTTPServer):
    """Answers POST on a loopback port, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        self.asked: list[dict] = []
        super().__init__(("127.0.0.1", 0), _Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/check"

    def names(self) -> list[tuple[str, str]]:
        return [(each["stage"], each["name"]) for each in self.asked]


class _Answers(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(question)
        answer = json.dumps(verdict(question)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_) -> None:
        pass


if __name__ == "__main__":
    print(json.dumps(verdict(json.load(sys.stdin))))
