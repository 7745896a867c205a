#!/usr/bin/env python3
"""Stands in for the binary in the suites of tests/conformance and tests/clients: `serve` with their arguments becomes three API
nodes behind HAProxy (round robin) and one worker, on the database and the object store in AS_ONE_DATABASE and AWS_…. A data
folder is a schema, so a restart finds its jobs. Other commands go to the binary itself, AS_ONE_BIN."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

NODES = 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def taken(arguments: list[str], name: str) -> str | None:
    """Takes an option with its value out of the arguments."""
    if name not in arguments:
        return None
    at = arguments.index(name)
    value = arguments[at + 1]
    del arguments[at : at + 2]
    return value


def main() -> int:
    binary, arguments = os.environ["AS_ONE_BIN"], sys.argv[1:]
    if arguments[:1] != ["serve"]:
        os.execv(binary, [binary, *arguments])
    listen, folder = taken(arguments, "--listen"), Path(taken(arguments, "--data-dir"))
    schema = "one_" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "MATERIAL_TRANSFER_DATABASE": os.environ["AS_ONE_DATABASE"],
        "MATERIAL_TRANSFER_DATABASE_SCHEMA": schema,
        "MATERIAL_TRANSFER_DATABASE_CONNECTIONS": "4",
        "MATERIAL_TRANSFER_FILES": f"s3://pictures/{schema}",
        "MATERIAL_TRANSFER_THREADS": "1",
    }
    ports = [free_port() for _ in range(NODES + 1)]
    commands = [[binary, *arguments, "--workers", "0", "--listen", f"127.0.0.1:{port}"] for port in ports[:NODES]]
    commands.append([binary, "worker", *arguments[1:], "--listen", f"127.0.0.1:{ports[NODES]}"])
    config = folder / "haproxy.cfg"
    servers = "\n".join(f"  server node{n} 127.0.0.1:{port} check inter 100ms" for n, port in enumerate(ports[:NODES]))
    config.write_text(f"""
defaults
  mode http
  timeout connect 2s
  timeout client 600s
  timeout server 600s
  timeout http-request 600s
frontend all
  bind {listen}
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /health/ready
{servers}
""")
    children = [subprocess.Popen(command, env=environment) for command in commands]
    children.append(subprocess.Popen(["/usr/sbin/haproxy", "-f", str(config)], stdout=subprocess.DEVNULL))
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    try:
        while not asked and all(child.poll() is None for child in children):
            time.sleep(0.05)
        for child in children[:-1]:
            child.terminate()
        return max(child.wait() for child in children[:-1])
    finally:
        for child in children:
            child.kill()


if __name__ == "__main__":
    sys.exit(main())
