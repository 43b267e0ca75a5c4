#!/usr/bin/python3
"""What the programs say: commands and their output, kept in text files and compared.

    transcript.py FILE…             exit 1 and a diff when a program says something else than the file
    transcript.py --update FILE…    writes what they say now; read it in `git diff`

A file holds comments (`# …`), what it needs (`#! pair`, a PostgreSQL pair; `#! sites ARGUMENT…`, lockstep-mock-sites
with these arguments) and commands (`$ …`, going on with `> …`). Everything else is output: standard output indented by
two spaces, then standard error behind `  ! `, then `  [exit N]` unless it is 0. Commands run one after the other, each in
a bash of its own, in one empty directory. They find the programs in PATH, a free port in FREE, the pair in LEDGER
(also LOCKSTEP_LEDGER), LEDGER_P and LEDGER_S, the sites' brokers in P and S, and `get URL`, which asks until it is
answered. What differs from run to run is masked: addresses by the variable's name, times, durations, versions.
"""

import argparse
import contextlib
import difflib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import parts  # noqa: E402
from stack import Stack, free_ports  # noqa: E402

BIN = Path(os.environ.get("LOCKSTEP_BIN") or parts.SOURCE / "build" / "dev" / "bin")
COMMAND_SECONDS = 60

MASKS = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>"),
    (r'("(?:first_)?seconds":)[\d.e-]+', r"\1<seconds>"),
    (r"(?m)^(  seconds +)[\d.e-]+$", r"\1<seconds>"),
    (r'("lag_bytes":)\d+', r"\1<bytes>"),
    (r"\d+ B behind", "<bytes> B behind"),
    (r"\b\d+ ms apart", "<n> ms apart"),
    (r"\b[0-9A-F]+/[0-9A-F]{5,}\b", "<lsn>"),
    (r"PostgreSQL \d[\w.]*( \([^)]*\))?", "PostgreSQL <version>"),
    (r"(lockstep-[a-z-]+) \d+\.\d+\.\d+", r"\1 <version>"),
    (r"rdkafka#(producer|consumer)-\d+", r"rdkafka#\1"),
    (r"mockCluster[0-9a-f]+", "<cluster>"),
]

GET = """get() { /usr/bin/python3 - "$1" <<'END'
import sys, time, urllib.error, urllib.request
for _ in range(400):
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=5) as answer: print(answer.status, answer.read().decode().strip()); break
    except urllib.error.HTTPError as refusal:
        print(refusal.code, refusal.read().decode().strip()); break
    except OSError:
        time.sleep(0.05)
END
}
"""


class Transcript:
    """The lines of a file, taken apart: what it needs, and its comments and commands in order."""

    def __init__(self, path):
        self.needs, self.items = {}, []
        blank = False
        for line in path.read_text().splitlines():
            if line.startswith("#") and blank and self.items and self.items[-1][0] == "comment":
                self.items.append(("comment", ""))
            blank = not line
            if line.startswith("#! "):
                name, *arguments = line[3:].split()
                self.needs[name] = arguments
                self.items.append(("comment", line))
            elif line.startswith("#"):
                self.items.append(("comment", line))
            elif line.startswith("$ "):
                self.items.append(("command", line[2:]))
            elif line.startswith("> "):
                self.items[-1] = ("command", self.items[-1][1] + "\n" + line[2:])


@contextlib.contextmanager
def mock_sites(arguments):
    process = subprocess.Popen([BIN / "lockstep-mock-sites", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        brokers = json.loads(process.stdout.readline())
        yield {"P": brokers["p"], "S": brokers["s"]}
    finally:
        process.stdin.close()
        process.wait(20)


def run(command, directory, environment):
    """(exit code, stdout, stderr); what the command left running ends with it."""
    process = subprocess.Popen(
        ["bash", "-c", GET + command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        out, err = "", f"no end after {COMMAND_SECONDS} s\n"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode, out, err


def masked(text, names):
    for value, name in sorted(names.items(), key=lambda item: -len(item[0])):
        text = text.replace(value, f"<{name}>")
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def play(transcript, directory, found):
    """The file as it would be now."""
    names = {value: name for name, value in found.items() if name in ("P", "S", "FREE")}
    for part in ("LEDGER_P", "LEDGER_S"):
        if part in found:
            port = re.search(r"port=(\d+)", found[part]).group(1)
            names |= {f"127.0.0.1:{port}": part, f"port={port}": part, f'port {port}': part}
    names[str(directory)] = "directory"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
    environment = {**inherited, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": f"{BIN}:{os.environ['PATH']}", **found}
    lines = []
    for kind, text in transcript.items:
        if kind == "comment":
            lines.append(text)
            continue
        code, out, err = run(text, directory, environment)
        code = code if code >= 0 else 128 - code
        said = [("  " + line).rstrip() for line in out.splitlines()] + [("  ! " + line).rstrip() for line in err.splitlines()]
        if code:
            said.append(f"  [exit {code}]")
        lines += ["$ " + text.replace("\n", "\n> "), *masked("\n".join(said), names).splitlines(), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def now(path):
    transcript = Transcript(path)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-transcript-")))
        found = {"FREE": str(free_ports(1)[0])}
        if "pair" in transcript.needs:
            pair = stack.enter_context(Stack(kafka=False))
            found |= {"LEDGER": pair.ledger, "LOCKSTEP_LEDGER": pair.ledger}
            found |= {"LEDGER_P": pair.conninfo("pg_p"), "LEDGER_S": pair.conninfo("pg_s")}
        if "sites" in transcript.needs:
            found |= stack.enter_context(mock_sites(transcript.needs["sites"]))
        return play(transcript, directory, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args()
    differing = 0
    for path in options.files:
        before, after = path.read_text(), now(path)
        if options.update:
            path.write_text(after)
        elif before != after:
            differing += 1
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), "now"))
            print(f"\nIf it should be so: {sys.argv[0]} --update {path}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
