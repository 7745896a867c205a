"""Clients that keep work going while processes die under them, and remember what they were promised."""

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from client import MODEL, TERMINAL, Api, ok, rules
from material_server import KEY

# While nodes die, these answers mean: not now.
NOT_NOW = (429, 500, 502, 503, 504)


@dataclass
class Promise:
    """An accepted job, and how it ended."""

    id: str
    work: int
    at: float = field(default_factory=time.monotonic)
    body: bytes | None = None
    status: str | None = None
    picture: bytes | None = None
    seconds: float = 0.0


class Client(threading.Thread):
    """Submits a job, waits for its end, looks at its picture, and again."""

    def __init__(self, base: str, pictures: dict[int, bytes], turn: int, most: int = 1 << 30, **changes):
        super().__init__(daemon=True)
        self.api = Api(base, KEY, timeout=30)
        self.pictures, self.turn, self.most, self.changes = pictures, turn, most, changes
        self.promises: list[Promise] = []
        self.unanswered = 0
        self.answers: Counter[str] = Counter()
        self.error: BaseException | None = None
        self.stopping = False

    def run(self) -> None:
        try:
            while not self.stopping and len(self.promises) < self.most:
                self.turn += 1
                promise = self.submit(self.turn % 4)
                if promise:
                    self.wait(promise)
        except BaseException as error:  # noqa: BLE001 -- told by the main thread
            self.error = error

    def ask(self, method: str, path: str, **options) -> httpx.Response | None:
        """`None` where there was no answer, or one that says: not now."""
        try:
            # Not by `request`: the proxy's own answers keep none of our rules.
            answer = self.api.http.request(method, self.api.base + path, **{"headers": self.api.headers()} | options)
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
            return None
        self.answers[str(answer.status_code)] += 1
        return None if answer.status_code in NOT_NOW else rules(answer)

    def submit(self, work: int) -> Promise | None:
        answer = self.ask("POST", f"/v2/{MODEL}", json=ok(seed=work, **self.changes))
        if answer is None:
            # It may have been taken all the same.
            self.unanswered += 1
            time.sleep(0.1)
            return None
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:200]}"
        promise = Promise(answer.json()["request_id"], work)
        self.promises.append(promise)
        return promise

    def wait(self, promise: Promise, patience: float = 120.0) -> None:
        ends = time.monotonic() + patience
        while time.monotonic() < ends:
            answer = self.ask("GET", f"/v2/requests/{promise.id}")
            if answer is not None:
                assert answer.status_code in (200, 422), f"job {promise.id}: {answer.status_code} {answer.text[:200]}"
                if answer.json()["status"] in TERMINAL:
                    return self.note(promise, answer)
            time.sleep(0.05)
        raise AssertionError(f"job {promise.id} was not over after {patience} s")

    def note(self, promise: Promise, answer: httpx.Response) -> None:
        body = answer.json()
        promise.seconds = time.monotonic() - promise.at
        while body["status"] == "COMPLETED" and promise.picture is None:
            file = self.ask("GET", "/files/" + body["output"].rsplit("/", 1)[1], headers={})
            if file is None:
                time.sleep(0.1)
                continue
            assert file.status_code == 200, f"the picture of {promise.id} is {file.status_code}"
            promise.picture = file.content
            same = self.pictures.setdefault(promise.work, file.content)
            assert file.content == same, f"job {promise.id}: the same work gave another picture"
        promise.status, promise.body = body["status"], stable(body)


def stable(body: dict) -> bytes:
    """What must not change: all but the addresses, which follow from the node that was asked."""
    return re.sub(r"http://[^/\"]+", "", json.dumps(body, sort_keys=True)).encode()


class Load:
    """Several clients at once."""

    def __init__(self, base: str, clients: int, most: int = 1 << 30, **changes):
        self.pictures: dict[int, bytes] = {}
        self.clients = [Client(base, self.pictures, turn, most, **changes) for turn in range(clients)]
        for client in self.clients:
            client.start()

    def check(self) -> None:
        for client in self.clients:
            if client.error:
                raise client.error

    def finish(self, patience: float = 180.0) -> list[Promise]:
        """Lets what is under way end; all promises."""
        ends = time.monotonic() + patience
        for client in self.clients:
            client.stopping = True
        for client in self.clients:
            client.join(max(0.0, ends - time.monotonic()))
        self.check()
        assert not any(client.is_alive() for client in self.clients), "a client still waits"
        return [promise for client in self.clients for promise in client.promises]

    def unanswered(self) -> int:
        return sum(client.unanswered for client in self.clients)

    def answers(self) -> Counter:
        return sum((client.answers for client in self.clients), Counter())


def look_again(base: str, promises: list[Promise]) -> None:
    """What is over has not changed, for this key; for another one there is no such job."""
    api, other = Api(base, KEY), Api(base, "SG_0000000000000bad")
    for promise in promises:
        answer = api.get(f"/v2/requests/{promise.id}")
        assert stable(answer.json()) == promise.body, f"job {promise.id} has changed"
    if promises:
        assert other.get(f"/v2/requests/{promises[0].id}").status_code in (401, 403, 404)
