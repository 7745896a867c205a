"""A client that holds every answer against the rules that have no exception: a request id on each answer, equal to
the body's; no redirects; errors as JSON with a string `error`; the four upper-case states and no fifth."""

import time
from dataclasses import dataclass, field

import httpx

import pictures
import wire

MODEL = "material-transfer"
STATES = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED")
TERMINAL = ("COMPLETED", "FAILED")


def ok(**changes) -> dict:
    """The small valid body of F.1, with changes; `...` takes a field out."""
    body = {
        "material_image": pictures.M,
        "subject_image": pictures.S,
        "steps": 1,
        "seed": 7,
        "max_width": 128,
        "max_height": 128,
    }
    body.update(changes)
    return {name: value for name, value in body.items() if value is not ...}


def rules(answer: httpx.Response) -> httpx.Response:
    """The rules of A.1, A.2 and (d) that hold for every answer of the server."""
    where = f"{answer.request.method} {answer.request.url} -> {answer.status_code}"
    assert answer.headers.get("x-request-id"), f"{where}: no x-request-id"
    assert not 300 <= answer.status_code < 400, f"{where}: redirects are forbidden"
    body = None
    if answer.headers.get("content-type", "").startswith("application/json") and answer.content:
        body = answer.json()
    if isinstance(body, dict) and "request_id" in body:
        assert answer.headers["x-request-id"] == body["request_id"], f"{where}: x-request-id differs from the body's"
    if answer.status_code >= 500 and isinstance(body, dict):
        assert body.get("status") not in TERMINAL, f"{where}: a 5xx body would be taken for a final state"
    return answer


def by_hand(answer: wire.Answer) -> httpx.Response:
    """An answer that was read by hand, held against the same rules."""
    request = httpx.Request("POST", "http://by.hand/")
    return rules(httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request))


def error_of(answer, status: int) -> str:
    """ERR of F.1: the status, JSON, and a non-empty string `error`, which is returned."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.content[:300]!r}"
    assert answer.headers["content-type"].startswith("application/json"), answer.headers["content-type"]
    body = answer.json()
    assert isinstance(body, dict) and isinstance(body.get("error"), str) and body["error"].strip(), body
    for trace in ("panicked", "backtrace", ".rs:", "src/"):
        assert trace not in body["error"], f"the error text shows the server's insides: {body['error']}"
    return body["error"]


def image_of(answer, form: str = "webp") -> bytes:
    """A v1 success: 200, the exact media type, the magic bytes, an honest length, and it decodes."""
    assert answer.status_code == 200, f"{answer.status_code}: {answer.content[:300]!r}"
    assert answer.headers["content-type"] == pictures.MEDIA[form]
    assert answer.content.startswith(pictures.MAGIC[form]), answer.content[:16]
    if form == "webp":
        assert answer.content[8:12] == b"WEBP"
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(answer.content))
    pictures.opened(answer.content)
    return answer.content


@dataclass
class Api:
    """One key at one base address."""

    base: str
    key: str | None = None
    timeout: float = 120.0
    http: httpx.Client = field(init=False)

    def __post_init__(self):
        self.base = self.base.rstrip("/")
        self.http = httpx.Client(timeout=self.timeout, trust_env=False, limits=httpx.Limits(max_connections=64))

    def headers(self, **more: str) -> dict[str, str]:
        given = {"x-api-key": self.key} if self.key else {}
        return given | {name.replace("_", "-"): value for name, value in more.items()}

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **options) -> httpx.Response:
        url = path if path.startswith("http") else self.base + path
        headers = self.headers() if headers is None else headers
        return rules(self.http.request(method, url, headers=headers, **options))

    def get(self, path: str, **options) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: dict, **options) -> httpx.Response:
        return self.request("POST", path, json=body, **options)

    def post_text(self, path: str, body: str | bytes, media: str | None = "application/json") -> httpx.Response:
        """A body that is sent exactly as given."""
        headers = self.headers() | ({"content-type": media} if media else {})
        return self.request("POST", path, headers=headers, content=body)

    def v1(self, **changes) -> httpx.Response:
        return self.post(f"/v1/{MODEL}", ok(**changes))

    def v2(self, **changes) -> httpx.Response:
        return self.post(f"/v2/{MODEL}", ok(**changes))

    def submit(self, **changes) -> dict:
        """A v2 submit that has to be accepted; its body."""
        answer = self.v2(**changes)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:300]}"
        return answer.json()

    def wait(self, job: dict, seconds: float = 120.0, every: float = 0.1) -> httpx.Response:
        """Polls to a terminal state, holding the way there against (e): states only ever move forward."""
        ends, seen = time.monotonic() + seconds, 0
        while True:
            answer = self.get(job["status_url"])
            assert answer.status_code in (200, 422), f"{answer.status_code} while polling: {answer.text[:300]}"
            body = answer.json()
            assert body["status"] in STATES, body
            assert (answer.status_code == 422) == (body["status"] == "FAILED"), body
            now = min(STATES.index(body["status"]), 2)
            assert now >= seen, f"{body['status']} after {STATES[seen]}"
            seen = now
            if body["status"] in TERMINAL:
                return answer
            assert time.monotonic() < ends, f"still {body['status']} after {seconds} s"
            time.sleep(every)

    def result(self, **changes) -> dict:
        """Submits, waits for COMPLETED, fetches the result; its body."""
        job = self.submit(**changes)
        ended = self.wait(job).json()
        assert ended["status"] == "COMPLETED", ended
        answer = self.get(job["response_url"])
        assert answer.status_code == 200
        return answer.json()

    def failure(self, **changes) -> str:
        """Submits, waits for FAILED; the error text, which has to be the same on both URLs."""
        job = self.submit(**changes)
        answer = self.wait(job)
        text = error_of(answer, 422)
        assert answer.json()["status"] == "FAILED"
        result = self.get(job["response_url"])
        assert error_of(result, 422) == text and result.json()["status"] == "FAILED"
        return text
