"""The soak: see README.md."""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from attacks import ATTACKS, Stranger, attack_for_ever
from client import TERMINAL, ok
from material_server import MaterialServer

MINUTES = float(os.environ.get("MINUTES", 60))
POLL_MS = float(os.environ.get("POLL_MS", 50))
TIMES = float(os.environ.get("TIMES", 5))
ADDRESS_SPACE, RESIDENT = 2_000_000, 1_500_000  # KiB
STRANGERS = 8
EXPIRY = 20  # seconds
IDLE = 15


class Bounded(MaterialServer):
    """A server that may not have more than so much address space."""

    def command(self) -> list[str]:
        return ["bash", "-c", f'ulimit -v {ADDRESS_SPACE}; exec "$@"', "soak", *super().command()]

    def resident(self, field: str = "VmRSS") -> int:
        """KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0])

    def disk(self) -> int:
        """KiB of the data folder."""
        return sum(file.stat().st_blocks // 2 for file in self.data.rglob("*") if file.is_file())


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Honest(threading.Thread):
    """A machine of its own that transfers a small picture, polls until it is there, and begins anew."""

    def __init__(self, base: str, address: str, seconds: float):
        super().__init__(daemon=True)
        self.http = httpx.Client(base_url=base, trust_env=False, timeout=30, transport=httpx.HTTPTransport(local_address=address))
        self.ends = time.monotonic() + seconds
        self.polls: list[float] = []
        self.transfers: list[float] = []
        self.faults: list[str] = []

    def run(self) -> None:
        while time.monotonic() < self.ends:
            try:
                self.transfer()
            except Exception as error:  # noqa: BLE001 -- whatever it is, somebody honest was not served
                self.faults.append(f"{type(error).__name__}: {error}"[:200])
                time.sleep(1)

    def transfer(self) -> None:
        begun = time.monotonic()
        answer = self.http.post("/v2/material-transfer", json=ok())
        if answer.status_code in (429, 503) and "retry-after" in answer.headers:
            self.faults.append(f"{answer.status_code} {answer.text[:100]}")
            time.sleep(min(5, int(answer.headers["retry-after"])))
            return
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}"
        url = f"/v2/requests/{answer.json()['request_id']}"
        while True:
            asked = time.monotonic()
            status = self.http.get(f"{url}/status").json()["status"]
            self.polls.append(time.monotonic() - asked)
            if status in TERMINAL:
                break
            assert asked - begun < 600, "no end within ten minutes"
            time.sleep(0.1)
        assert status == "COMPLETED", self.http.get(url).text[:200]
        self.transfers.append(time.monotonic() - begun)


def honest(server: Bounded, seconds: float) -> tuple[list[float], list[float], list[str]]:
    clients = [Honest(server.base, f"127.0.0.{100 + number}", seconds) for number in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(seconds + 700)
    return tuple(sum((getattr(client, kind) for client in clients), []) for kind in ("polls", "transfers", "faults"))


def lateness(stopping: threading.Event, late: list[float]) -> None:
    """How late the machine wakes a thread that has nothing to do."""
    while not stopping.is_set():
        begun = time.monotonic()
        time.sleep(0.02)
        late.append(time.monotonic() - begun - 0.02)


def under_attack(server: Bounded, seconds: float) -> dict:
    stopping, counts, late, resident = threading.Event(), {}, [], []
    threads = [threading.Thread(target=lateness, args=(stopping, late), daemon=True)]
    for number, (attack, pause) in enumerate(ATTACKS):
        stranger = Stranger(server.port, f"127.0.0.{2 + number % STRANGERS}", number)
        threads.append(threading.Thread(target=attack_for_ever, args=(stranger, attack, pause, counts, stopping), daemon=True))

    def watch():
        while not stopping.wait(0.5) and server.running():
            resident.append(server.resident())

    threads.append(threading.Thread(target=watch, daemon=True))
    for thread in threads:
        thread.start()
    polls, transfers, faults = honest(server, seconds)
    stopping.set()
    for thread in threads:
        thread.join(30)
    return dict(polls=polls, transfers=transfers, faults=faults, counts=counts, late=late, resident=max(resident, default=0))


def milliseconds(values: list[float]) -> str:
    p50, p99 = percentile(values, 0.5) * 1000, percentile(values, 0.99) * 1000
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(values)}"


def settle(server: Bounded, before: tuple[int, int]) -> tuple[int, int]:
    """Memory and disk once all is over: the queue has run empty, results have expired, what was used has gone back."""

    def unfinished() -> int:
        lines = httpx.get(f"{server.base}/metrics", trust_env=False, timeout=30).text.splitlines()
        states = [line for line in lines if line.startswith(("material_transfer_jobs{state=\"queued", "material_transfer_jobs{state=\"processing"))]
        return sum(int(line.split()[1]) for line in states)

    begun = time.monotonic()
    while server.running() and unfinished() and time.monotonic() - begun < 1800:
        time.sleep(1)
    print(f"the queue was empty {time.monotonic() - begun:.0f} s after the end")
    for _ in range(EXPIRY + 60):
        if not server.running() or flat(server, before):
            break
        time.sleep(1)
    return (server.resident(), server.disk()) if server.running() else (0, 0)


def flat(server: Bounded, before: tuple[int, int]) -> bool:
    """Whether memory and disk are what they were, but for what a running server keeps."""
    return server.resident() < before[0] + 150_000 and server.disk() < before[1] + 20_000


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    server = Bounded(folder, keys=[], flags=["--result-ttl", f"{EXPIRY}s"])
    broken = []

    def must(holds: bool, promise: str) -> None:
        if not holds:
            broken.append(promise)

    server.start()
    try:
        honest(server, 3)
        idle_polls, idle_transfers, _ = honest(server, IDLE)
        before = (server.resident(), server.disk())
        seen = under_attack(server, MINUTES * 60)
        after = settle(server, before)
        must(server.running(), f"the server ended: {server.process.returncode}")
        must(server.running() and flat(server, before), "memory or disk did not come back")
    finally:
        server.stop()
    log = server.log.read_text(errors="replace")
    print(f"idle:  polls {milliseconds(idle_polls)}; small transfers {milliseconds(idle_transfers)}")
    print(f"load:  polls {milliseconds(seen['polls'])}; small transfers {milliseconds(seen['transfers'])}")
    print(f"the machine wakes a thread late by {milliseconds(seen['late'])}; load average {os.getloadavg()[0]:.1f}")
    print(f"resident: {before[0] >> 10} MiB before, {seen['resident'] >> 10} at most, {after[0] >> 10} after; "
          f"disk: {before[1] >> 10} MiB before, {after[1] >> 10} after")
    print("attempts: " + ", ".join(f"{name} {what} {count}" for (name, what), count in sorted(seen["counts"].items())))
    print(f"log: {log.count('panicked')} panics, {log.count(' WARN ')} warnings, {log.count(' ERROR ')} errors in {folder}")
    for fault in sorted(set(seen["faults"])):
        print(f"honest and not served ({seen['faults'].count(fault)}): {fault}")
    must(not seen["faults"], f"{len(seen['faults'])} honest calls were not served")
    must(bool(seen["transfers"]), "no honest transfer came to its end")
    poll, least = percentile(seen["polls"], 0.99) * 1000, percentile(idle_transfers, 0.99) * 1000
    must(poll <= POLL_MS, f"polls: p99 {poll:.1f} ms, more than {POLL_MS:.0f}")
    transfer = percentile(seen["transfers"], 0.99) * 1000
    must(transfer <= TIMES * least, f"small transfers: p99 {transfer:.0f} ms, more than {TIMES:.0f} times {least:.0f}")
    must(seen["resident"] <= RESIDENT, f"{seen['resident'] >> 10} MiB resident, more than {RESIDENT >> 10}")
    for promise in broken:
        print(f"BROKEN: {promise}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
