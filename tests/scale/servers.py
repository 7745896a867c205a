"""Real servers on loopback: PostgreSQL, an S3 server, HAProxy, PgBouncer, a relay that can be cut, and our own nodes."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from material_server import KEY, ROOT, binary, clean_environment, free_port

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
READY_WITHIN = 60.0


def need(program: str, package: str) -> str:
    """A program of Debian's; its absence is a skip, and in CI a failure."""
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if not found:
        message = f"{program} is not here: install the package {package}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return found


def let_in(folder: Path) -> None:
    """The user that a server runs as has to get in."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.getuid() and not each.stat().st_mode & 0o005:
            each.chmod(0o755)


class Postgres:
    """A server of its own, durable as it is by default; it ends when this process does."""

    def __init__(self, folder: Path, *settings: str):
        folder.mkdir(parents=True)
        let_in(folder)
        self.port = free_port()
        script = ROOT / "crates/cluster/tests/servers/postgres.sh"
        self.keeper = subprocess.Popen(
            [script, folder, str(self.port), *settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        answer = self.keeper.stdout.readline().strip()
        if answer.startswith("missing"):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(answer)
        assert answer == "ready", answer

    def address(self, port: int | None = None) -> str:
        return f"postgres://test@127.0.0.1:{port or self.port}/postgres"

    def _say(self, word: str, answer: str) -> None:
        self.keeper.stdin.write(word + "\n")
        self.keeper.stdin.flush()
        said = self.keeper.stdout.readline().strip()
        assert said == answer, said

    def kill(self) -> None:
        """What `pg_ctl stop -m immediate` does: no goodbye, recovery at the next start."""
        self._say("kill", "dead")

    def start(self) -> None:
        self._say("start", "ready")

    def ask(self, sql: str) -> str:
        """The answer as unaligned text."""
        command = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.address(), "-c", sql]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    def close(self) -> None:
        self.keeper.stdin.close()
        self.keeper.wait(30)


class ObjectStore:
    """The S3 server of the crate's tests, as a process."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        server = TARGET / "release" / "examples" / "s3_server"
        self.process = subprocess.Popen([server, folder, str(self.port)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("ready")

    def environment(self, port: int | None = None) -> dict[str, str]:
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{port or self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test-access",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
        }

    def misbehave(self, way: str) -> None:
        assert httpx.get(f"http://127.0.0.1:{self.port}/-/fault/{way}", trust_env=False).status_code == 200

    def objects(self) -> list[str]:
        return sorted(
            path.name for path in (self.folder / "pictures").rglob("*") if path.is_file() and path.name != "probe"
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Relay(threading.Thread):
    """Carries TCP from one port to another, until it is cut: then it carries nothing and says nothing, as a network does
    that drops packets."""

    def __init__(self, to: int):
        super().__init__(daemon=True)
        self.to, self.cut = to, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(here,), daemon=True).start()

    def _carry(self, here: socket.socket) -> None:
        while self.cut:
            time.sleep(0.05)
        try:
            there = socket.create_connection(("127.0.0.1", self.to))
        except OSError:
            here.close()
            return
        for source, sink in ((here, there), (there, here)):
            threading.Thread(target=self._pipe, args=(source, sink), daemon=True).start()

    def _pipe(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                while self.cut:
                    time.sleep(0.02)
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        self.listener.close()


class Process:
    """A server of Debian's with a configuration file."""

    def __init__(self, command: list[str], port: int):
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{command[0]} does not start")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def haproxy(folder: Path, ports: list[int]) -> Process:
    """Round robin over the API nodes, which it asks whether they are ready. What a node did not take is given to another
    one; what it took is not."""
    port, file = free_port(), folder / "haproxy.cfg"
    nodes = "\n".join(f"  server node{n} 127.0.0.1:{each} check inter 200ms fall 1 rise 1" for n, each in enumerate(ports))
    file.write_text(f"""
global
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 600s
  timeout server 600s
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response 502 503
  default-server init-addr none
frontend all
  bind 127.0.0.1:{port}
  default_backend nodes
backend nodes
  balance roundrobin
  http-request disable-l7-retry unless METH_GET
  option httpchk GET /health/ready
  option forwardfor
  http-request set-header X-Forwarded-Proto http
{nodes}
""")
    return Process([need("haproxy", "haproxy"), "-f", str(file)], port)


def pgbouncer(folder: Path, postgres: Postgres) -> Process:
    """In transaction mode, the strictest one that is common."""
    folder.mkdir()
    let_in(folder)
    port, file = free_port(), folder / "pgbouncer.ini"
    (folder / "users").write_text('"test" ""\n')
    file.write_text(f"""
[databases]
postgres = host=127.0.0.1 port={postgres.port} dbname=postgres user=test
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder / "users"}
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
""")
    command = [need("pgbouncer", "pgbouncer"), str(file)]
    if os.getuid() == 0:
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
    return Process(command, port)


class Node:
    """One of our processes: `serve` or `worker`."""

    def __init__(self, folder: Path, role: str, environment: dict[str, str], *flags: str, before: tuple[str, ...] = ()):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.role, self.environment, self.flags, self.before = folder, role, environment, flags, before
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{role}-{self.port}.log"
        self.process: subprocess.Popen | None = None

    def start(self, wait: bool = True) -> "Node":
        command = [*self.before, str(binary()), self.role, "--listen", f"127.0.0.1:{self.port}", *self.flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                env=clean_environment() | self.environment,
            )
        if wait:
            self.ready()
        return self

    def ready(self) -> None:
        ends = time.monotonic() + READY_WITHIN
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.role} ended with {self.process.returncode}:\n{self.tail()}")
            try:
                if httpx.get(f"{self.base}/health/ready", trust_env=False, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.role} is not ready:\n{self.tail()}")

    def metric(self, line: str) -> float:
        page = httpx.get(f"{self.base}/metrics", trust_env=False, timeout=10).text
        found = [each for each in page.splitlines() if each.startswith(line + " ")]
        # A series with labels is there once there is something to count.
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    def memory(self) -> int:
        """Resident, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, patience: float = 60.0) -> int | None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()
                return None
        return self.process.returncode


class Cluster:
    """API nodes and workers on one database and one object store."""

    def __init__(self, folder: Path, postgres: Postgres, store: ObjectStore, lease: str = "4s", ttl: str = "10m", **settings: str):
        self.folder, self.postgres, self.store = folder, postgres, store
        self.schema = f"scale_{free_port()}"
        self.settings = {
            "MATERIAL_TRANSFER_DATABASE": postgres.address(),
            "MATERIAL_TRANSFER_DATABASE_SCHEMA": self.schema,
            "MATERIAL_TRANSFER_FILES": f"s3://pictures/{self.schema}",
            "MATERIAL_TRANSFER_API_KEY": KEY,
            "MATERIAL_TRANSFER_LEASE": lease,
            "MATERIAL_TRANSFER_RESULT_TTL": ttl,
            "MATERIAL_TRANSFER_THREADS": "1",
            "MATERIAL_TRANSFER_QUEUE_LIMIT": "1000",
            "MATERIAL_TRANSFER_QUEUE_LIMIT_PER_KEY": "1000",
            "MATERIAL_TRANSFER_SHUTDOWN_GRACE": "20s",
        } | {f"MATERIAL_TRANSFER_{name.upper()}": value for name, value in settings.items()} | store.environment()
        self.nodes: list[Node] = []

    def _node(self, role: str, flags: tuple[str, ...], before: tuple[str, ...] = (), **changes: str) -> Node:
        node = Node(self.folder, role, self.settings | changes, *flags, before=before)
        self.nodes.append(node)
        return node

    def api(self, **options) -> Node:
        return self._node("serve", ("--workers", "0"), **options)

    def worker(self, **options) -> Node:
        return self._node("worker", (), **options)

    def sql(self, text: str) -> str:
        """`@` is the schema."""
        return self.postgres.ask(text.replace("@", f"{self.schema}."))

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
