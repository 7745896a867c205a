"""Drives the Segmind SDK 0.2.3: `drive_0_2_3.py BASE_URL KEY SCENARIO`, the two pictures as JSON on standard input.

That version has a class for each model of its day, none of them this one, and `generate` has no argument for pictures.
The package stays as it is: its base class is given this model's address, and the two pictures are put into the JSON
body on its way through `requests`. All else is the SDK's own: the numbers as strings, the parameters of another model,
the reading of `X-remaining-credits` and the opening of the answer as a picture."""

import contextlib
import io
import json
import sys

import requests
from segmind.SDXL import SDXL
from segmind.T2I import T2I

MODEL = "material-transfer"


def add_to_every_body(pictures: dict) -> None:
    plain = requests.Session.request

    def request(self, method, url, **options):
        options["json"] = {**options["json"], **pictures}
        return plain(self, method, url, **options)

    requests.Session.request = request


class MaterialTransfer(SDXL):
    """A model's class as a user of 0.2.3 would add one: `SDXL` with another address."""

    def __init__(self, base_url: str, api_key: str):
        T2I.__init__(self, url=f"{base_url}/{MODEL}", api_key=api_key)


def generate(base_url: str, key: str, scenario: str) -> dict:
    model = T2I(f"{base_url}/{MODEL}", api_key=key) if scenario == "T2I" else MaterialTransfer(base_url, key)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        picture = model.generate(prompt="marble sculpture", num_inference_steps=6, guidance_scale=2.5, seed=354687483)
    picture.load()
    return {"said": said.getvalue().strip(), "size": picture.size, "format": picture.format}


def main() -> None:
    base_url, key, scenario = sys.argv[1:4]
    pictures = json.load(sys.stdin)
    add_to_every_body(pictures)
    try:
        report = generate(base_url, key, scenario)
    except Exception as error:  # reported by its text: the SDK raises a bare Exception("Error: <code>")
        report = {"raised": type(error).__name__, "detail": str(error)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
