"""Work of a wanted length by real means: larger pictures and more steps, measured on the server under test."""

import time

import pictures
from client import Api

SIDES = (256, 512, 768, 1024, 1536)


def heavy(side: int, steps: int) -> dict:
    """Changes to the small valid body that make it a larger job."""
    return {
        "subject_image": pictures.data_uri(pictures.encoded(pictures.large_subject(side), "JPEG", quality=90)),
        "material_image": pictures.data_uri(pictures.encoded(pictures.material_picture(192, 192))),
        "steps": steps,
        "max_width": side,
        "max_height": side,
    }


def inference_seconds(api: Api, changes: dict) -> float:
    return api.result(**changes)["metrics"]["inference_time"]


def job_of_at_least(api: Api, seconds: float) -> tuple[dict, float]:
    """A body whose job takes at least `seconds` of inference here, and what it took when it was tried."""
    took = 0.0
    for side in SIDES:
        for steps in (6, 24, 96):
            changes = heavy(side, steps)
            took = inference_seconds(api, changes)
            if took >= seconds:
                return changes, took
            if took < seconds / 8:
                break  # not worth the next step up in steps at this size
    raise AssertionError(f"no job of {seconds} s to be had: the largest took {took:.1f} s")


def fill_queue(api: Api, seconds: float) -> list[dict]:
    """Queues jobs of one to a few seconds until about `seconds` of work lie before the next caller."""
    changes, took = job_of_at_least(api, 1.5)
    jobs, begun = [], time.monotonic()
    while len(jobs) * took < seconds + (time.monotonic() - begun):
        jobs.append(api.submit(**changes))
    return jobs
