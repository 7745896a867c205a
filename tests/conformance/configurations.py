"""The configuration of each server that the suites start: its file's text, its keys, its flags. `{base}` stands for
the address at which that server will be reached."""

import hashlib

from material_server import KEY, KEY2

# The tester's pictures come from loopback; sites that do not answer are not waited for longer than needed, and an
# endless one reaches its limit before that.
_REACHABLE = 'fetch_allow = ["127.0.0.0/8"]\nfetch_timeout = "3s"\nfetch_max_bytes = "16MiB"\n'


def _key(name: str, key: str, settings: str = "") -> str:
    return f'[[keys]]\nid = "{name}"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n{settings}\n'


CONFIGURATIONS: dict[str, dict] = {
    "default": {"config": _REACHABLE},
    "unchanged": {},
    "one-door": {"config": 'fetch_allow = ["127.0.0.2"]\n'},
    "ttl": {"flags": ["--result-ttl", "5s"]},
    "long-files": {"flags": ["--result-ttl", "2s"], "config": 'file_ttl = "1h"\n'},
    "quota": {"keys": [], "config": _key("first", KEY, "credits = 1") + _key("second", KEY2)},
    "rate": {"keys": [], "config": _key("first", KEY, "requests_per_minute = 6")},
    "deadline": {"config": 'v1_deadline = "1s"\n'},
    "late": {"config": "validate_late = true\n"},
    "open": {"keys": []},
    # For requests by the hundred: few steps, and no queue that could be full.
    "fuzzed": {"config": "max_steps = 2\nqueue_limit = 5000\nqueue_limit_per_key = 5000\n"},
    "fuzzed-open": {"keys": [], "config": "max_steps = 2\nqueue_limit = 5000\nqueue_limit_per_key = 5000\n"},
    "restricted": {
        "keys": [],
        "config": _key("first", KEY, 'models = ["another-model"]') + _key("second", KEY2, 'permissions = ["read"]'),
    },
    "proxied": {"config": 'trusted_proxies = ["127.0.0.1"]\n'},
    "prefixed": {"config": 'path_prefix = "/api"\n', "flags": ["--public-url", "{base}"], "prefix": "/api"},
}
