"""What steers a job, through the libraries that people have for it: an EventSource (httpx-sse) and a receiver of webhooks that
verifies them with the Standard Webhooks library."""

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from httpx_sse import connect_sse
from standardwebhooks import Webhook, WebhookVerificationError

import pictures
from client import ok
from material_server import KEY, MaterialServer

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two characters").decode()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A server that tells the ends of its jobs."""
    config = f'fetch_allow = ["127.0.0.0/8"]\nwebhook_secret = "{SECRET}"\n'
    server = MaterialServer(tmp_path_factory.mktemp("told"), config=config).start()
    yield server
    server.stop(patience=20)


@pytest.fixture
def http(told):
    with httpx.Client(base_url=told.base, headers={"x-api-key": KEY}, timeout=60, trust_env=False) as client:
        yield client


class Receiver:
    """A program that takes webhooks; the first answers are `statuses`, then 200."""

    def __init__(self, *statuses: int):
        self.received: list[tuple[dict, bytes]] = []
        receiver, left = self, list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((dict(self.headers.items()), body))
                self.send_response(left.pop(0) if left else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/told"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int) -> list[tuple[dict, bytes]]:
        for _ in range(600):
            if len(self.received) >= count:
                return self.received
            time.sleep(0.05)
        raise AssertionError(f"{len(self.received)} of {count} came")


def test_event_source(http):
    """The library refuses what is no event stream, and hands out events with names, ids and data."""
    first = http.post("/v2/material-transfer", json=ok(max_width=1000, max_height=1000)).json()
    job = http.post("/v2/material-transfer", json=ok()).json()
    with connect_sse(http, "GET", f"/v2/requests/{job['request_id']}/events") as source:
        events = list(source.iter_sse())
    assert {event.event for event in events} == {"status"}
    states = [event.json()["status"] for event in events]
    assert states[-1] == "COMPLETED" and events[-1].id == "COMPLETED"
    assert states == sorted(states, key=["QUEUED", "PROCESSING", "COMPLETED"].index)
    again = {"Last-Event-ID": events[-1].id}
    assert http.get(f"/v2/requests/{job['request_id']}/events", headers=again).status_code == 204
    assert http.get(f"/v2/requests/{first['request_id']}?wait=60").json()["status"] == "COMPLETED"


def test_webhook_verified_by_the_library(http):
    receiver = Receiver()
    job = http.post("/v2/material-transfer", json=ok(webhook_url=receiver.url)).json()
    [(headers, body)] = receiver.wait(1)
    message = Webhook(SECRET).verify(body, headers)
    assert message["request_id"] == job["request_id"] and message["status"] == "COMPLETED"
    pictures.opened(http.get(message["output"]).content)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"COMPLETED", b"COMPLETES"), headers)
    for _ in range(100):
        webhook = http.get(job["status_url"]).json()["webhook"]
        if webhook["state"] == "delivered":
            break
        time.sleep(0.05)
    assert [each["outcome"] for each in webhook["tries"]] == ["HTTP 200"]


def test_webhook_comes_again(http):
    receiver = Receiver(503)
    http.post("/v2/material-transfer", json=ok(webhook_url=receiver.url))
    (first, body), (second, same) = receiver.wait(2)
    assert (first["webhook-id"], body) == (second["webhook-id"], same)
    Webhook(SECRET).verify(same, second)


def test_the_same_form_twice(http):
    """requests and httpx draw another boundary for each form; the request is the same all the same."""
    files = {"material_image": pictures.MATERIAL, "subject_image": pictures.SUBJECT}
    headers, data = {"Idempotency-Key": "order-1"}, {"steps": "1", "max_width": "128"}
    first, second = (
        http.post("/v2/material-transfer", files=files, data=data, headers=headers) for _ in range(2)
    )
    assert first.json()["request_id"] == second.json()["request_id"]
    assert second.headers["idempotent-replayed"] == "true"
    listed = http.get("/v2/requests", params={"limit": 100}).json()["requests"]
    assert [job["request_id"] for job in listed].count(first.json()["request_id"]) == 1
    assert http.delete(f"/v2/requests/{first.json()['request_id']}").status_code == 204
