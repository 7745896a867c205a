"""Drives the Segmind SDK 1.0.1 or later, unmodified: `drive.py BASE_URL KEY SCENARIO`, parameters as JSON on standard
input. Prints one JSON object: what came back, or which exception with which attributes. In 1.0.1 `run` is the blocking
call and `run_async` the queued one; since 1.1.0 they are `run_sync` and `run`."""

import base64
import json
import sys
import time

import segmind
from segmind import SegmindClient
from segmind.exceptions import SegmindError
from segmind.v2 import InferenceFailed, InferenceTimeout

MODEL = "material-transfer"


def response(answer) -> dict:
    return {
        "status_code": answer.status_code,
        "headers": {name.lower(): value for name, value in answer.headers.items()},
        "content": base64.b64encode(answer.content).decode(),
    }


def run(client, params) -> dict:
    """The seed page's sample: run, then status, output, metrics."""
    result = getattr(client, "run_async", client.run)(MODEL, **params)
    return {
        "status": result["status"],
        "output": result.get("output"),
        "inference_time": result["metrics"]["inference_time"],
        "result": result,
    }


def run_sync(client, params) -> dict:
    begun = time.monotonic()
    answer = getattr(client, "run_sync", client.run)(MODEL, **params)
    return {**response(answer), "seconds": time.monotonic() - begun}


def submit_and_wait(client, params) -> dict:
    job = client.submit_async(MODEL, **params)
    first = job.status()
    result = job.wait(timeout=600, interval=0.2)
    return {
        "submit": job.submit_response,
        "request_id": job.request_id,
        "first": first,
        "result": result,
        "again": job.result(),
    }


def give_up_and_come_back(client, params) -> dict:
    """A deadline too short for the job; what the exception names is then waited for after all."""
    job = client.submit_async(MODEL, **params)
    try:
        job.wait(timeout=0.2, interval=0.1)
    except InferenceTimeout as late:
        return {
            "timeout": {"request_id": late.request_id, "elapsed_s": late.elapsed_s, "job": job.request_id},
            "result": job.wait(interval=0.2),
        }
    return {"timeout": None}


def failing_job(client, params) -> dict:
    """A job that fails: the exception of wait(), and the full record fetched afterwards."""
    job = client.submit_async(MODEL, **params)
    try:
        job.wait(timeout=60, interval=0.1)
    except InferenceFailed as failed:
        return {"failed": {"detail": failed.detail, "status_body": failed.status_body}, "result": job.result()}
    return {"failed": None}


def unknown_job(client, _params) -> dict:
    job = segmind.v2.AsyncJob(
        request_id="00000000-0000-0000-0000-000000000000",
        status_url=client.base_url.removesuffix("/v1") + "/v2/requests/00000000-0000-0000-0000-000000000000/status",
        response_url=client.base_url.removesuffix("/v1") + "/v2/requests/00000000-0000-0000-0000-000000000000",
        submit_response={},
        _client=client,
    )
    return job.wait(timeout=5, interval=0.1)


def module_level(client, params) -> dict:
    """The seed page's module-level `segmind.run`, with the default client pointed at another server (A.12)."""
    segmind._default_client = client
    return {"result": getattr(segmind, "run_async", segmind.run)(MODEL, **params)}


SCENARIOS = {
    "run": run,
    "run_sync": run_sync,
    "submit_and_wait": submit_and_wait,
    "give_up_and_come_back": give_up_and_come_back,
    "failing_job": failing_job,
    "unknown_job": unknown_job,
    "module_level": module_level,
}


def main() -> None:
    base_url, key, scenario = sys.argv[1:4]
    client = SegmindClient(api_key=key or None, base_url=base_url)
    try:
        report = SCENARIOS[scenario](client, json.load(sys.stdin))
    except InferenceFailed as error:
        report = {"raised": "InferenceFailed", "detail": error.detail, "status_body": error.status_body}
    except SegmindError as error:
        report = {"raised": "SegmindError", "status": error.status, "detail": error.detail}
    except Exception as error:  # reported by its name: which exception reaches the user is what is tested
        report = {"raised": type(error).__name__, "detail": str(error)}
    print(json.dumps({"version": segmind.__version__, **report}))


if __name__ == "__main__":
    main()
