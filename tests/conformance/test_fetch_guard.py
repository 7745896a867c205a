"""The fetch guard on loopback: the default configuration reaches nothing here, however the address is spelled, and a
single permitted address is no door to the others. What lies beyond loopback is test_fetch_guard_network.py."""

import contextlib
import re
import socket

import pytest

from client import error_of, image_of
from picture_host import PictureHost

# {port} is the tester's site, which listens on 127.0.0.1 and ::1.
SPELLINGS = {
    "dotted": "http://127.0.0.1:{port}/subject.png",
    "another loopback address": "http://127.0.0.2:{port}/subject.png",
    "short": "http://127.1:{port}/subject.png",
    "three parts": "http://127.0.1:{port}/subject.png",
    "decimal": "http://2130706433:{port}/subject.png",
    "hex": "http://0x7f000001:{port}/subject.png",
    "hex parts": "http://0x7f.0x0.0x0.0x1:{port}/subject.png",
    "octal": "http://017700000001:{port}/subject.png",
    "octal parts": "http://0177.0.0.1:{port}/subject.png",
    "localhost": "http://localhost:{port}/subject.png",
    "localhost in capitals": "http://LOCALHOST:{port}/subject.png",
    "localhost with a dot": "http://localhost.:{port}/subject.png",
    "ipv6": "http://[::1]:{port}/subject.png",
    "ipv6 in full": "http://[0:0:0:0:0:0:0:1]:{port}/subject.png",
    "ipv4 in ipv6": "http://[::ffff:127.0.0.1]:{port}/subject.png",
    "ipv4 in ipv6, hex": "http://[::ffff:7f00:1]:{port}/subject.png",
    "ipv4-compatible": "http://[::127.0.0.1]:{port}/subject.png",
    "unspecified": "http://0.0.0.0:{port}/subject.png",
    "zero": "http://0:{port}/subject.png",
    "unspecified ipv6": "http://[::]:{port}/subject.png",
    "with a user": "http://user:word@127.0.0.1:{port}/subject.png",
    "a name as the user": "http://example.com@127.0.0.1:{port}/subject.png",
    "percent-encoded": "http://%31%32%37.0.0.1:{port}/subject.png",
    "ideographic stops": "http://127。0。0。1:{port}/subject.png",
    "circled digits": "http://①②⑦.⓪.⓪.①:{port}/subject.png",
    "capitals in the scheme": "HTTP://127.0.0.1:{port}/subject.png",
    "backslash": "http:\\\\127.0.0.1:{port}\\subject.png",
    "no slashes": "http:127.0.0.1:{port}/subject.png",
    "blanks around": "  http://127.0.0.1:{port}/subject.png  ",
    "tab inside": "http://127.0.\t0.1:{port}/subject.png",
}
REFUSAL = r"subject_image: address not allowed.*"
# A spelling that is no URL at all to a strict parser may be refused as such, or as no picture.
NO_URL = (
    r"subject_image: (address not allowed.*|URL must be a valid HTTP or HTTPS URL|not a readable image"
    r"|could not be downloaded.*)"
)
# What `localhost.` resolves to is a matter of the machine.
ODD = {
    "localhost with a dot",
    "percent-encoded",
    "ideographic stops",
    "circled digits",
    "backslash",
    "no slashes",
    "blanks around",
    "tab inside",
}


@pytest.fixture(scope="module")
def site():
    """On both loopback addresses, at the same port."""
    first = PictureHost("127.0.0.1")
    hosts = [first]
    if socket.has_ipv6:
        with contextlib.suppress(OSError):  # a machine may have the family but no such address
            hosts.append(PictureHost("::1", first.port))
    yield hosts
    for host in hosts:
        host.close()


def asked(site) -> list:
    return [request for host in site for request in host.requests]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_guard_denies_loopback_by_default(special, site, spelling, version):
    api = special("unchanged")
    before = len(asked(site))
    url = SPELLINGS[spelling].format(port=site[0].port)
    answer = getattr(api, version)(subject_image=url)
    if answer.status_code == 200 and version == "v2":
        text = error_of(api.wait(answer.json()), 422)
    else:
        text = error_of(answer, 400)
    assert re.fullmatch(NO_URL if spelling in ODD else REFUSAL, text), text
    assert asked(site)[before:] == [], "the address was asked all the same"


def test_guard_leaves_inline_pictures_alone(special):
    image_of(special("unchanged").v1())


def test_guard_denies_both_fields(special, site):
    text = error_of(special("unchanged").v1(material_image=f"http://127.0.0.1:{site[0].port}/material.png"), 400)
    assert text.startswith("material_image: address not allowed")


# One permitted address, 127.0.0.2; everything else as by default.
@pytest.fixture(scope="module")
def door():
    host = PictureHost("127.0.0.2")
    yield host
    host.close()


def test_guard_admits_the_permitted_address(special, door):
    image_of(special("one-door").v1(subject_image=door("/subject.png")))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_guard_follows_redirects_that_stay_permitted(special, door, code):
    image_of(special("one-door").v1(subject_image=door(f"/redirect?code={code}&to=/subject.png")))


@pytest.mark.parametrize(
    "spelling", [name for name in SPELLINGS if name not in ODD and name != "another loopback address"]
)
def test_guard_checks_every_redirect(special, site, door, spelling):
    before = len(asked(site))
    to = SPELLINGS[spelling].format(port=site[0].port)
    text = error_of(special("one-door").v1(subject_image=door(f"/redirect?to={to}")), 400)
    assert re.fullmatch(REFUSAL, text), text
    assert asked(site)[before:] == []


@pytest.mark.parametrize(
    "to", ["file:///etc/hostname", "ftp://127.0.0.2/subject.png", "gopher://127.0.0.2/x", "data:image/png;base64,AAAA"]
)
def test_guard_follows_http_only(special, door, to):
    text = error_of(special("one-door").v1(subject_image=door(f"/redirect?to={to}")), 400)
    assert text.startswith("subject_image: ")


def test_guard_allows_five_redirects(special, door):
    image_of(special("one-door").v1(subject_image=door("/hops?left=5")))


@pytest.mark.parametrize("hops", [6, 1000])
def test_guard_stops_after_five_redirects(special, door, hops):
    before = len(door.requests)
    text = error_of(special("one-door").v1(subject_image=door(f"/hops?left={hops}")), 400)
    assert text.startswith("subject_image: ")
    assert len(door.requests) - before <= 6


def test_guard_believes_bytes_not_media_types(special, door):
    image_of(special("one-door").v1(subject_image=door("/mislabelled.bin")))


def test_guard_passes_nothing_of_the_caller_on(special, door):
    api = special("one-door")
    door.requests.clear()
    image_of(api.v1(subject_image=door("/redirect?to=/subject.png")))
    assert len(door.requests) == 2
    for _, headers in door.requests:
        assert not {"x-api-key", "authorization", "cookie"} & set(headers), headers
        assert api.key not in str(headers)
