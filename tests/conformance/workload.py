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


def inference_seconds(result: dict) -> float:
    return result["metrics"]["inference_time"]


def done_in_at_least(api: Api, seconds: float) -> tuple[dict, dict]:
    """Tries larger and larger jobs until one has taken at least `seconds` of inference: its body and its result."""
    took = 0.0
    for side in SIDES:
        for steps in (6, 24, 96):
            changes = heavy(side, steps)
            result = api.result(**changes)
            took = inference_seconds(result)
            if took >= seconds:
                return changes, result
            if took < seconds / 8:
                break  # not worth the next step up in steps at this size
    raise AssertionError(f"no job of {seconds} s to be had: the largest took {took:.1f} s")


def job_of_at_least(api: Api, seconds: float) -> tuple[dict, float]:
    """A body whose job takes at least `seconds` here, and how long it takes. Measured three times and the shortest
    taken: on a machine with other work a single time may be far too long."""
    wanted = seconds
    for _ in range(4):
        changes, result = done_in_at_least(api, wanted)
        took = min(inference_seconds(result), *(inference_seconds(api.result(**changes)) for _ in range(2)))
        if took >= seconds:
            return changes, took
        wanted = 1.5 * wanted
    raise AssertionError(f"the times vary too much here for a job of {seconds} s")


def fill_queue(api: Api, seconds: float) -> None:
    """Queues jobs until at least `seconds` of work lie before the next caller, with a wide margin for a machine that
    becomes less busy meanwhile. The jobs are large enough that some thirty do, below a key's share of the queue."""
    changes, took = job_of_at_least(api, max(1.0, seconds / 15))
    queued, begun = 0, time.monotonic()
    while queued * took < 2.0 * seconds + (time.monotonic() - begun):
        api.submit(**changes)
        queued += 1
