"""What the documents say exists: links and their anchors, options and commands, settings and variables, other names in code type,
metrics, the API's parameters and routes, and every message of the program in docs/troubleshooting.md; and that the README's
transfers run. Standard library only; `run` starts it."""

import json
import os
import re
import shlex
import subprocess
import tempfile
import unittest
from functools import cache
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = Path(os.environ.get("MATERIAL_TRANSFER_BIN", TARGET / "release" / "material-transfer"))


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in (ROOT / line for line in sorted(set(listed.stdout.splitlines()))) if path.is_file()]


DOCUMENTS = tracked("*.md")
# Names of other programs and of data sets.
FOREIGN = {"--gpus", "nexus_7"}
FENCE = re.compile(r"^```[^\n]*\n.*?^```", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """The text without its blocks of code."""
    return FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#+ +(.*)$", prose(path), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        count = found.get(anchor, 0)
        found[anchor] = count + 1
        result.add(f"{anchor}-{count}" if count else anchor)
    return result


@cache
def source() -> str:
    """Everything that names may come from."""
    files = tracked("crates/*.rs", "crates/*.toml", "configs/*", "models/*.toml", "tests/*.py", "tests/*.sh", "tests/*/run", "tests/*.toml",
                    "tests/*.json", "training/*.py", "examples/*", "packaging/*", ".github/*", "Cargo.toml", "deny.toml", "compose.yaml", "Dockerfile")
    return "\n".join(path.read_text(errors="ignore") for path in files if path.suffix not in {".jpg", ".png", ".md", ".safetensors"})


@cache
def words() -> set[str]:
    return set(re.findall(r"\w+", source()))


@cache
def help_of(*command: str) -> str:
    done = subprocess.run([BINARY, *command, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


@cache
def openapi() -> dict:
    """What a server of this build says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", folder]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MATERIAL_TRANSFER_")}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
            try:
                lines = iter(server.stderr.readline, "")
                base = next(found[0] for line in lines if (found := re.findall(r"listening on (http://[\d.:]+)", line)))
                with urlopen(f"{base}/openapi.json", timeout=20) as answer:
                    return json.load(answer)
            finally:
                server.terminate()
                server.communicate(timeout=60)


class Documents(unittest.TestCase):
    def complain(self, what: str, faults: list[str]) -> None:
        self.assertEqual(faults, [], f"{what}:\n" + "\n".join(faults))

    def test_links_lead_somewhere(self):
        faults = []
        for path in DOCUMENTS:
            for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
                if re.match(r"[a-z]+:", link):
                    continue
                file, _, anchor = link.partition("#")
                target = (path.parent / file).resolve() if file else path
                if not target.exists():
                    faults.append(f"{path.relative_to(ROOT)}: {link}: there is no such file")
                elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                    faults.append(f"{path.relative_to(ROOT)}: {link}: there is no such heading")
        self.complain("links", faults)

    def test_paths_in_code_type_exist(self):
        faults = []
        folders = "crates|docs|tests|configs|examples|packaging|training|models|\\.ci|\\.github"
        for path in DOCUMENTS:
            for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", prose(path)):
                if not (ROOT / name).exists() and not any(word in name for word in ("NAME", "CRATE")):
                    faults.append(f"{path.relative_to(ROOT)}: {name}")
        self.complain("paths", faults)

    def test_options_exist(self):
        """Options after the program's name, in blocks and in the text, are in the help of that command."""
        faults = []
        for path in DOCUMENTS:
            if "tests" in path.parts:
                continue  # those are mostly of the suites
            text = path.read_text().replace("\\\n", " ")
            for command, rest in re.findall(r"material-transfer(?: --)? (transfer|serve|models(?: \w+)?)\b([^\n`|#]*)", text):
                known = help_of(*command.split()[:1]) if command.startswith("models") else help_of(command)
                if command.startswith("models "):
                    if command.split()[1] not in ("list", "pull", "verify", "remove"):
                        continue
                    known += help_of(*command.split())
                for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest):
                    if option not in known:
                        faults.append(f"{path.relative_to(ROOT)}: material-transfer {command} {option}")
            for option in re.findall(r"`(--[a-z][a-z-]+)", prose(path)):
                if option not in FOREIGN and option not in help_of("transfer") + help_of("serve") + help_of("models") + help_of("models", "remove") + source():
                    faults.append(f"{path.relative_to(ROOT)}: {option}")
        self.complain("options", faults)

    def test_variables_exist(self):
        settings = {name.upper() for name in re.findall(r"^#? ?(\w+) = ", (ROOT / "configs/server.toml").read_text(), re.MULTILINE)}
        faults = []
        for path in DOCUMENTS + tracked("packaging/*", "compose.yaml", "Dockerfile"):
            for name in re.findall(r"MATERIAL_TRANSFER_([A-Z0-9_]*[A-Z0-9])", path.read_text(errors="ignore")):
                if name not in settings and f"MATERIAL_TRANSFER_{name}" not in source():
                    faults.append(f"{path.relative_to(ROOT)}: MATERIAL_TRANSFER_{name}")
        self.complain("variables", faults)

    def test_names_exist(self):
        """Names with an underscore in code type (settings, parameters, functions, tests) are somewhere in the sources."""
        faults = []
        for path in DOCUMENTS:
            for name in re.findall(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`", prose(path)):
                if name not in words() | FOREIGN:
                    faults.append(f"{path.relative_to(ROOT)}: {name}")
        self.complain("names", faults)

    def test_parameters_are_those_of_the_server(self):
        """docs/api.md's table: every parameter, its default, its range or words."""
        request = openapi()["components"]["schemas"]["TransferRequest"]
        properties = dict(request["properties"])
        # No parameters of the model; in the chapters on v1 and on additions.
        for name in ("base64", "dry_run", "webhook_url"):
            properties.pop(name)
        table = (ROOT / "docs/api.md").read_text().split("## Parameters")[1].split("**Pictures**")[0]
        rows = {name: cells for line in table.splitlines() if line.startswith("| `")
                for cells in [line.split("|")] for name in re.findall(r"`(\w+)`", cells[1])}
        self.assertEqual(sorted(rows), sorted(properties))
        faults = []
        for name, schema in properties.items():
            _, _, _, default, allowed, *_ = rows[name]
            absent = "required" if name in request["required"] else "none"
            wanted = json.dumps(schema["default"]).strip('"') if "default" in schema else absent
            wanted = {"": "empty", "null": "random", "[]": "none"}.get(wanted, wanted.removesuffix(".0"))
            if str(wanted) not in default:
                faults.append(f"{name}: the default is {wanted}, not {default}")
            # Ends that are the type's and not the parameter's are left out of the table.
            bounds = [schema[end] for end in ("minimum", "maximum") if 0 <= schema.get(end, -1) < (1 << 31) - 1]
            for part in [*schema.get("enum", []), *(f"{bound:g}" for bound in bounds)]:
                if part not in allowed:
                    faults.append(f"{name}: {part} is not in {allowed}")
        self.complain("parameters", faults)

    def test_routes_exist(self):
        paths = {re.sub(r"\{\w+\}", "{}", path) for path in openapi()["paths"]} | {"/", "/openapi.json"}
        faults = []
        for path in DOCUMENTS:
            for route in re.findall(r"(?:GET|POST|HEAD) `?(/[\w/{}.-]+)", path.read_text()):
                route = re.sub(r"\{\w+\}", "{}", route).replace("{}/{}", "{}")
                if route not in paths and route.replace("{}", "material-transfer") not in paths:
                    faults.append(f"{path.relative_to(ROOT)}: {route}")
        self.complain("routes", faults)

    def test_the_transfers_of_the_readme_run(self):
        blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL))
        commands = re.findall(r"(?:^|-- )(?:material-transfer )?(transfer --.*)$", blocks.replace("\\\n", " "), re.MULTILINE)
        self.assertGreater(len(commands), 0)
        for command in set(commands):
            with tempfile.TemporaryDirectory() as folder:
                options = [re.sub(r"^(output\.\w+)$", rf"{folder}/\1", word) for word in shlex.split(command)]
                done = subprocess.run([BINARY, *options], cwd=ROOT, capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual([path.name for path in Path(folder).iterdir()], ["output.png"])

    def test_metrics_exist(self):
        faults = []
        metrics = (ROOT / "crates/server/src/metrics.rs").read_text()
        for path in tracked("packaging/*"):
            for name in re.findall(r"\bmaterial_transfer_[a-z_]+", path.read_text()):
                if name not in metrics and re.sub(r"_(bucket|sum|count)$", "", name) not in metrics:
                    faults.append(f"{path.relative_to(ROOT)}: {name}")
        self.complain("metrics", faults)

    def test_every_message_is_in_troubleshooting(self):
        """Of each error's text, three words in a row (or all, if it has fewer) stand on the page."""
        page = plain((ROOT / "docs/troubleshooting.md").read_text())
        faults = []
        for path in tracked("crates/*/src/*.rs"):
            text = path.read_text().split("#[cfg(test)]")[0]
            found = re.findall(r'#\[error\(\s*"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
            if path.name == "failure.rs" and "server" in path.parts:
                found += re.findall(r'StatusCode::\w+,\s*(?:format!\()?"((?:[^"\\]|\\.)*)"', text)
            for message in found:
                if not any(run in page for run in runs(message)):
                    faults.append(f"{path.relative_to(ROOT)}: {' '.join(message.split())}")
        self.complain("messages that docs/troubleshooting.md does not have", faults)


def plain(text: str) -> str:
    return " " + " ".join(re.findall(r"[\w']+", text.lower())) + " "


def runs(message: str) -> list[str]:
    """Three words in a row, from the text between the placeholders. No words of its own: whatever it wraps is on the page."""
    pieces = [re.findall(r"[\w']+", piece.lower()) for piece in re.split(r"\{[^}]*\}", re.sub(r"\\\n\s*", "", message))]
    longest = max(map(len, pieces))
    if longest == 0:
        return [" "]
    size = min(3, longest)
    return [f" {' '.join(piece[at:at + size])} " for piece in pieces for at in range(len(piece) - size + 1)]


if __name__ == "__main__":
    outcome = unittest.main(exit=False, verbosity=1).result
    failed = len(outcome.failures) + len(outcome.errors)
    print(f"{outcome.testsRun - failed} passed, {failed} failed")
    raise SystemExit(failed > 0)
