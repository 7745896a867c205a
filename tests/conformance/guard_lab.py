"""A small internet in a network namespace of its own: run by test_fetch_guard_network.py under `unshare`, where no
packet can leave. Every address below lies on that namespace's loopback device, so a guard that fails is seen to
reach the forbidden site. Prints one JSON object: case -> status, error text, and the addresses that were reached."""

import json
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from client import Api
from configurations import CONFIGURATIONS
from material_server import KEY, MaterialServer
from picture_host import PictureHost, _Site

PUBLIC, PUBLIC6 = "45.0.0.1", "2600::1"
ADDRESSES = {
    "private 10/8": "10.1.2.3",
    "private 172.16/12": "172.16.5.4",
    "private 192.168/16": "192.168.7.8",
    "metadata": "169.254.169.254",
    "link-local": "169.254.7.7",
    "shared 100.64/10": "100.64.0.9",
    "this network": "0.1.2.3",
    "benchmarking 198.18/15": "198.18.0.9",
    "unique local ipv6": "fd12:3456::1",
    "metadata ipv6": "fd00:ec2::254",
    "link-local ipv6": "fe80::7",
    "nat64 of a private address": "64:ff9b::a01:203",
    "6to4 of a private address": "2002:a01:203::1",
}
NAMES = {
    "public.test": [PUBLIC],
    "private.test": ["10.1.2.3"],
    "metadata.google.internal": ["169.254.169.254"],
    "loop.test": ["127.0.0.1"],
    "six.test": ["::1"],
    "ula.test": ["fd12:3456::1"],
    "mixed.test": [PUBLIC, "127.0.0.1"],
    "mixed-six.test": [PUBLIC, "fd12:3456::1"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
}
REBINDING = "rebind.test"


class Names:
    """A DNS server for the names above. `rebind.test` is public when first asked and private ever after."""

    def __init__(self):
        self.asked: list[str] = []
        self.rebinds = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.53", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            query, peer = self.socket.recvfrom(4096)
            self.socket.sendto(self.answer(query), peer)

    def addresses(self, name: str, kind: int) -> list[bytes]:
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        if name == REBINDING and kind == 1:
            self.rebinds += 1
            found = [PUBLIC] if self.rebinds == 1 else ["10.1.2.3"]
        else:
            found = NAMES.get(name, [])
        return [socket.inet_pton(family, one) for one in found if family and (":" in one) == (kind == 28)]

    def answer(self, query: bytes) -> bytes:
        labels, place = [], 12
        while query[place]:
            labels.append(query[place + 1 : place + 1 + query[place]].decode())
            place += 1 + query[place]
        kind = struct.unpack(">H", query[place + 1 : place + 3])[0]
        name = ".".join(labels).lower()
        self.asked.append(name)
        found = self.addresses(name, kind)
        unknown = name not in NAMES and name != REBINDING
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(raw)) + raw for raw in found)
        head = query[:2] + struct.pack(">HHHHH", 0x8183 if unknown else 0x8180, 1, len(found), 0, 0)
        return head + query[12 : place + 5] + records


# The local address that each request came in on.
reached: list[str] = []
_plain_get = _Site.do_GET


def _remembering_get(self) -> None:
    reached.append(self.connection.getsockname()[0].split("%")[0].removeprefix("::ffff:"))
    _plain_get(self)


def set_up_network(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in [*ADDRESSES.values(), PUBLIC, PUBLIC6, "127.0.0.53"]:
        size = "128" if ":" in address else "32"
        # 0.1.2.3 and 127.0.0.53 need no address of their own, and the kernel may refuse the first.
        subprocess.run(["ip", "addr", "add", f"{address}/{size}", "dev", "lo"], check=False, stderr=subprocess.DEVNULL)
    for name, text in {
        "resolv.conf": "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    }.items():
        (folder / name).write_text(text)
        subprocess.run(["mount", "--bind", str(folder / name), f"/etc/{name}"], check=True)


def cases(port: int) -> dict[str, str]:
    """Case -> the URL given as the subject."""

    def url(host: str, path: str = "/subject.png") -> str:
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"

    urls = {what: url(address) for what, address in ADDRESSES.items()}
    urls |= {f"name {name}": url(name) for name in NAMES}
    urls |= {f"redirect to {what}": url(PUBLIC, f"/redirect?to={url(address)}") for what, address in ADDRESSES.items()}
    urls |= {f"redirect to name {name}": url("public.test", f"/redirect?to={url(name)}") for name in NAMES}
    return urls | {
        "redirect to loopback": url(PUBLIC, f"/redirect?to={url('127.0.0.1')}"),
        "public ipv6": url(PUBLIC6),
        "rebinding": url(REBINDING),
        "decimal private": url(str(int.from_bytes(socket.inet_aton("10.1.2.3"), "big"))),
        "hex private": url("0x0a010203"),
        "octal private": url("012.01.02.03"),
        "ipv4 in ipv6, private": url("::ffff:10.1.2.3"),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    set_up_network(folder)
    _Site.do_GET = _remembering_get
    names = Names()
    # The port that settings left alone permit; in a network of its own it is free.
    site = PictureHost("0.0.0.0", 80)
    PictureHost("::", site.port)
    report: dict = {"addresses": {**ADDRESSES, "public": PUBLIC, "public6": PUBLIC6}}
    for configuration in ("unchanged", "default"):
        server = MaterialServer(folder / configuration, **CONFIGURATIONS[configuration])
        server.start()
        names.rebinds = 0
        api = Api(server.base, KEY)
        seen = report[configuration] = {}
        for what, url in cases(site.port).items():
            if configuration == "default" and what not in ("private 10/8", "name public.test", "public ipv6"):
                continue  # with loopback permitted: only what proves that the laboratory itself works
            reached.clear()
            answer = api.v1(subject_image=url)
            error = answer.json().get("error") if answer.status_code != 200 else None
            seen[what] = {
                "url": url,
                "status": answer.status_code,
                "error": error,
                "reached": sorted(set(reached)),
            }
        server.kill()
    # The laboratory's own control: what the guard forbids is really there.
    control = {}
    for what, address in ADDRESSES.items():
        try:
            with socket.create_connection((address, site.port), timeout=2):
                control[what] = True
        except OSError as error:
            control[what] = str(error)
    report["control"] = control
    print(json.dumps(report))


if __name__ == "__main__":
    main()
