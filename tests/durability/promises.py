"""What the server has promised, job by job, and whether it keeps it: accepted is never lost, what is over does not
change by a byte until its time ends, then it is unknown; the same work gives the same picture, interrupted or not."""

import threading
import time
from dataclasses import dataclass, field

import httpx

from client import TERMINAL, Api, error_of

# The clocks of client and server are read at different moments; within this many seconds of an end nothing is asked.
MARGIN = 2.0


@dataclass
class Ended:
    """What was seen when a job was first seen to be over."""

    status: str
    body: bytes
    file_url: str | None
    file: bytes | None
    at: float


@dataclass
class Promise:
    """One accepted job."""

    submitted: dict
    work: str
    kills: int = 0
    alive_at: float = field(default_factory=time.monotonic)
    ended: Ended | None = None


class Promises:
    """All accepted jobs of a run, in the order of acceptance."""

    def __init__(self, ttl: float):
        self.ttl = ttl
        self.all: list[Promise] = []
        self.pictures: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def accept(self, submitted: dict, work: str) -> None:
        with self.lock:
            self.all.append(Promise(submitted, work))

    def open(self) -> list[Promise]:
        with self.lock:
            return [promise for promise in self.all if promise.ended is None]

    def killed(self) -> None:
        for promise in self.open():
            promise.kills += 1

    def look(self, api: Api, promise: Promise) -> None:
        """Polls a job that was not over when it was last seen; takes down how it ended."""
        status = api.get(promise.submitted["status_url"])
        where = f"job {promise.submitted['request_id']} after {promise.kills} kills"
        assert status.status_code in (200, 422), f"{where}: {status.status_code} {status.text[:200]}"
        if status.json()["status"] not in TERMINAL:
            promise.alive_at = time.monotonic()
            return
        answer = api.get(promise.submitted["response_url"])
        body = answer.json()
        if body["status"] == "FAILED":
            text = error_of(answer, 422)
            assert "interrupted twice" in text and promise.kills >= 2, f"{where}: {text}"
            promise.ended = Ended("FAILED", answer.content, None, None, time.monotonic())
            return
        assert answer.status_code == 200, f"{where}: {answer.status_code}"
        retries = body["metrics"].get("retry_count", 0)
        assert retries <= min(1, promise.kills), f"{where}: begun again {retries} times"
        file = api.get(body["output"], headers={})
        assert file.status_code == 200, f"{where}: its picture is {file.status_code}"
        same = self.pictures.setdefault(promise.work, file.content)
        assert file.content == same, f"{where}: the same work gave another picture"
        promise.ended = Ended("COMPLETED", answer.content, body["output"], file.content, time.monotonic())

    def check(self, api: Api) -> None:
        """Asks for everything."""
        for promise in list(self.all):
            if promise.ended is None:
                self.look(api, promise)
            elif (age := time.monotonic() - promise.ended.at) < self.ttl - (promise.ended.at - promise.alive_at) - MARGIN:
                self.unchanged(api, promise)
            elif age > self.ttl + MARGIN:
                self.unknown(api, promise)

    def run_out(self, api: Api, seconds: float = 300) -> None:
        """Everything that was accepted comes to its end."""
        ends = time.monotonic() + seconds
        while self.open():
            self.check(api)
            assert time.monotonic() < ends, f"{len(self.open())} jobs never end"
            time.sleep(0.2)
        self.check(api)
        assert self.all, "there was time for nothing"

    def completed(self, api: Api, credits: int) -> None:
        """Everything comes to its end as if nothing had been: completed, for one of the key's `credits` each."""
        self.run_out(api)
        assert {promise.ended.status for promise in self.all} == {"COMPLETED"}
        left = api.get("/v1/get-user-credits").json()["credits"]
        assert left == credits - len(self.all), f"{left} left of {credits} after {len(self.all)} jobs"

    @staticmethod
    def unchanged(api: Api, promise: Promise) -> None:
        ended = promise.ended
        answer = api.get(promise.submitted["response_url"])
        assert answer.content == ended.body, f"{answer.content!r} was {ended.body!r}"
        assert answer.status_code == (200 if ended.status == "COMPLETED" else 422)
        if ended.file_url:
            file = api.get(ended.file_url, headers={})
            assert (file.status_code, file.content) == (200, ended.file), f"{file.status_code}: the picture changed"

    @staticmethod
    def unknown(api: Api, promise: Promise) -> None:
        for url in ("status_url", "response_url", "poll_url"):
            assert "not found" in error_of(api.get(promise.submitted[url]), 404).lower()
        if promise.ended.file_url:
            error_of(api.get(promise.ended.file_url, headers={}), 404)


class Load(threading.Thread):
    """Submits and polls until the server is gone. Holds `most` jobs open at a time."""

    def __init__(self, api: Api, promises: Promises, kinds: list[tuple[str, dict]], most: int):
        super().__init__(daemon=True)
        self.api, self.promises, self.kinds, self.most = api, promises, kinds, most
        self.stopping = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            turn = 0
            while not self.stopping:
                if len(self.promises.open()) < self.most:
                    name, changes = self.kinds[turn % len(self.kinds)]
                    turn += 1
                    answer = self.api.v2(**changes)
                    assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:200]}"
                    self.promises.accept(answer.json(), name)
                for promise in self.promises.open():
                    self.promises.look(self.api, promise)
                time.sleep(0.01)
        except httpx.TransportError:
            pass  # the kill
        except BaseException as error:  # noqa: BLE001 -- told by the main thread
            self.error = error
