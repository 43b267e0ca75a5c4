"""Processes of a test stack: started, recorded, killed for certain.

Everything a stack starts is recorded in DIR/state.json (pid and start time, so that a reused pid is never hit) and
carries LOCKSTEP_STACK=DIR in its environment. `destroy(DIR)` from any process ends all of it and removes DIR.

A stack that belongs to a running program has a *guard*: a process of its own session that waits for the program's end
(end-of-file on a pipe, so a SIGKILL counts too) and then destroys the stack.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


class NotReady(Exception):
    """A condition did not come true before its deadline."""


def wait_for(what, condition, seconds, pause=0.05):
    """Calls `condition` until it returns something true, and returns that; NotReady after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        outcome = condition()
        if outcome:
            return outcome
        if time.monotonic() > deadline:
            raise NotReady(f"{what}: not after {seconds} s")
        time.sleep(pause)


def _stat(pid):
    """(state, parent, start time) of a process, or None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return fields[0], int(fields[1]), int(fields[19])
    except (OSError, IndexError):
        return None


def _alive(pid, started):
    stat = _stat(pid)
    return stat is not None and stat[2] == started and stat[0] not in "ZX"


def _pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _tree(roots):
    """The given processes and all their descendants, as {pid: start time}."""
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid))}
    tree = {pid: stats[pid][2] for pid in roots if pid in stats}
    grew = True
    while grew:
        more = {pid: stat[2] for pid, stat in stats.items() if stat[1] in tree and pid not in tree}
        tree.update(more)
        grew = bool(more)
    return tree


def _signal(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def strays(directory):
    """Living processes that belong to the stack in `directory`, recorded or not, as {pid: start time}.

    PostgreSQL's children write their title over their environment, but work inside their data directory.
    """
    directory = str(directory)
    found = {}
    for pid in _pids():
        stat = _stat(pid)
        if stat is None or stat[0] in "ZX" or pid == os.getpid():
            continue
        try:
            marked = f"LOCKSTEP_STACK={directory}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            inside = os.readlink(f"/proc/{pid}/cwd").startswith(directory + "/")
            postgres = Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
        except OSError:
            continue
        if marked or (inside and postgres):
            found[pid] = stat[2]
    return found


class Processes:
    """The named processes of one stack. Not thread-safe."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.log_dir = self.directory / "log"
        self._state = self.directory / "state.json"
        self._children = {}
        self._guard = None
        self.facts = {}
        self.parts = {}
        if self._state.exists():
            stored = json.loads(self._state.read_text())
            self.facts, self.parts = stored["facts"], stored["parts"]

    def save(self):
        temporary = self._state.with_suffix(".tmp")
        temporary.write_text(json.dumps({"facts": self.facts, "parts": self.parts}, indent=1))
        temporary.replace(self._state)

    def guard(self):
        """From now on the stack ends with this program, however it ends."""
        reader, writer = os.pipe()
        self._guard = (
            subprocess.Popen(
                [sys.executable, __file__, str(self.directory)],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            ),
            writer,
        )
        os.close(reader)

    def spawn(self, name, argv, user=None, env=None, stdin=subprocess.DEVNULL, stdout=None, cwd=None):
        """Starts `argv` as the part `name`; output goes to log/NAME.log (stdout to the file object `stdout`, if given)."""
        self.log_dir.mkdir(exist_ok=True)
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        with open(self.log_dir / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                [str(argument) for argument in argv],
                stdin=stdin,
                stdout=stdout or log,
                stderr=log,
                cwd=cwd or self.directory,
                env={**os.environ, "LOCKSTEP_STACK": str(self.directory), **(env or {})},
                start_new_session=True,
                **as_user,
            )
        self._children[name] = child
        stat = _stat(child.pid)
        self.parts[name] = {"pid": child.pid, "started": stat[2] if stat else 0}
        self.save()
        return child

    def alive(self, name):
        child = self._children.get(name)
        if child is not None and child.poll() is not None:
            return False
        part = self.parts.get(name)
        return part is not None and _alive(part["pid"], part["started"])

    def _living(self, names):
        return _tree([self.parts[name]["pid"] for name in names if self.alive(name)])

    def exit_code(self, name):
        """Of a part started here: its exit code, or None while it runs (negative: the signal that ended it)."""
        return self._children[name].poll()

    def send(self, names, number):
        """Sends a signal to the parts and all their children, as near to the same moment as can be."""
        _signal(self._living(names), number)

    def kill(self, names, seconds=20):
        """SIGKILL for the parts and all their children; returns when all of them are gone."""
        living = self._living(names)
        _signal(living, signal.SIGKILL)
        self._reap(names, living, seconds)

    def stop(self, name, number=signal.SIGTERM, seconds=60):
        """Asks one part to end and waits for it; returns its exit code if it was started here."""
        living = self._living([name])
        if self.alive(name):
            _signal([self.parts[name]["pid"]], number)
        self._reap([name], living, seconds)
        child = self._children.get(name)
        # Gone for /proc is not yet waited for: the other threads of a process may outlive the first by a moment.
        return child.wait(seconds) if child else None

    def _reap(self, names, living, seconds):
        def gone():
            for name in names:
                if name in self._children:
                    self._children[name].poll()
            return not any(_alive(pid, started) for pid, started in living.items())

        wait_for(f"end of {', '.join(names)}", gone, seconds, pause=0.02)

    def log_tail(self, name, lines=25):
        try:
            return "\n".join((self.log_dir / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def destroy(self):
        destroy(self.directory)
        for child in self._children.values():
            child.wait()
        if self._guard:
            guard, writer = self._guard
            os.close(writer)
            guard.wait()
            self._guard = None


def destroy(directory):
    """Ends everything the stack in `directory` started and removes the directory. Again is harmless."""
    directory = Path(directory)
    if not directory.exists():
        return
    processes = Processes(directory)
    living = processes._living(processes.parts)

    def gone():
        left = {pid for pid, started in living.items() if _alive(pid, started)} | set(strays(directory))
        _signal(left, signal.SIGKILL)
        return not left

    wait_for(f"end of the processes of {directory}", gone, 30)

    def removed():
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    wait_for(f"removal of {directory}", removed, 10)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    destroy(sys.argv[1])
