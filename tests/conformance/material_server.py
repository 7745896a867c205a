"""Starts the real binary on a free loopback port with its own data folder, and stops, kills or restarts it.
Everything that these tests know of the product's command line and configuration file stands in this file."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
KEY, KEY2, BAD_KEY = "SG_0123456789abcdef", "SG_fedcba9876543210", "SG_0000000000000bad"
READY_WITHIN = 90.0


def binary() -> Path:
    """`MATERIAL_TRANSFER_BIN`, else what `cargo build --release` leaves behind."""
    given = os.environ.get("MATERIAL_TRANSFER_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(given) if given else target / "release" / "material-transfer"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: run `cargo build --release`, or set MATERIAL_TRANSFER_BIN")
    return path.resolve()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment() -> dict[str, str]:
    """Without the product's own variables and without proxies, which would change what is tested."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MATERIAL_TRANSFER_") and not name.lower().endswith("_proxy")
    }


@dataclass
class MaterialServer:
    """One server process. `config` is the text of its configuration file, `flags` go on its command line."""

    folder: Path
    keys: list[str] = field(default_factory=lambda: [KEY, KEY2])
    config: str = ""
    flags: list[str] = field(default_factory=list)
    listen: str = "127.0.0.1"
    prefix: str = ""
    process: subprocess.Popen | None = None
    ready_answers: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.port = free_port()
        self.base = f"http://{self.listen}:{self.port}{self.prefix}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"

    def command(self) -> list[str]:
        command = [str(binary()), "serve", "--listen", f"{self.listen}:{self.port}", "--data-dir", str(self.data)]
        for key in self.keys:
            command += ["--api-key", key]
        if self.config:
            file = self.folder / "server.toml"
            file.write_text(self.config.replace("{base}", self.base))
            command += ["--config", str(file)]
        return command + [flag.replace("{base}", self.base) for flag in self.flags]

    def start(self) -> "MaterialServer":
        """Returns when `/health/ready` says 200; what it said before that is in `ready_answers`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=clean_environment(),
                cwd=self.folder,
            )
        self.ready_answers = []
        ends = time.monotonic() + READY_WITHIN
        with httpx.Client(trust_env=False, timeout=5) as http:
            while time.monotonic() < ends:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
                try:
                    self.ready_answers.append(http.get(f"{self.base}/health/ready").status_code)
                    if self.ready_answers[-1] == 200:
                        return self
                except httpx.TransportError:
                    pass
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server was not ready after {READY_WITHIN} s:\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, patience: float = 60.0) -> int | None:
        """The polite way: SIGTERM, and time to finish. The exit status, or None where it had to be killed."""
        if not self.running():
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        """The impolite way: SIGKILL, nothing is told to anybody."""
        if self.running():
            self.process.kill()
            self.process.wait()
