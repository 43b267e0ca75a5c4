"""Running the shipped programs beside a stack, as a supervisor or an operator would: started, watched, asked to end.

They are parts of the stack: its guard ends them too. Logs go to log/NAME.log, standard output to NAME.stdout.
"""

import json
import os
import signal
from pathlib import Path
from typing import NamedTuple

import parts
from processes import wait_for

BIN = Path(os.environ.get("LOCKSTEP_BIN") or parts.SOURCE / "build" / "dev" / "bin")


class ProgramFailed(Exception):
    """A program did not do what its manual says; the message holds the end of its log."""


class Outcome(NamedTuple):
    code: int
    summary: dict  # the JSON object that is the last line of standard output, else {}
    lines: list  # of standard output
    log: str  # the end of standard error


class Programs:
    def __init__(self, stack):
        self.stack, self._processes = stack, stack.processes
        self._following = set()

    def _stdout(self, name):
        return self.stack.directory / f"{name}.stdout"

    def spawn(self, name, argv, cwd=None, env=None):
        """Starts a program and leaves it to the caller."""
        argv = [BIN / word if str(word).startswith("lockstep-") and index == 0 else word for index, word in enumerate(argv)]
        with open(self._stdout(name), "w") as stdout:
            self._processes.spawn(name, argv, stdout=stdout, cwd=cwd, env=env)

    def follow(self, name, argv, cwd=None, env=None):
        """Starts a program that runs until it is told to stop."""
        self.spawn(name, argv, cwd, env)
        self._following.add(name)

    def outcome(self, name):
        """Of a program that has ended."""
        lines = self._stdout(name).read_text(errors="replace").splitlines()
        try:
            summary = json.loads(lines[-1]) if lines else {}
        except ValueError:
            summary = {}
        return Outcome(self._processes.exit_code(name), summary, lines, self._processes.log_tail(name))

    def ended(self, name):
        return self._processes.exit_code(name) is not None

    def call(self, name, argv, cwd=None, env=None, expect=(0,), seconds=300):
        """Runs a program to its end; ProgramFailed if its exit code is none of `expect`."""
        self.spawn(name, argv, cwd, env)
        self.wait(f"{name} to end", lambda: self.ended(name), seconds)
        return self._judged(name, expect)

    def stop(self, name, expect=(0, 130)):
        """SIGTERM to a follower: it drains and answers 0, or 130 when it had work left."""
        self._following.discard(name)
        self._processes.stop(name)
        return self._judged(name, expect)

    def end(self, name, expect, seconds=60):
        """Waits for a follower that will end by itself, with one of the exit codes `expect`."""
        self._following.discard(name)
        wait_for(f"{name} to end", lambda: self.ended(name), seconds)
        return self._judged(name, expect)

    def forget(self, names):
        """These followers may end in any way from now on: they are to be killed."""
        self._following -= set(names)

    def _judged(self, name, expect):
        outcome = self.outcome(name)
        if outcome.code not in expect:
            raise ProgramFailed(f"{name}: exit {outcome.code}, expected {expect}\n{outcome.log}\n" + "\n".join(outcome.lines[-3:]))
        return outcome

    def check_followers(self):
        for name in sorted(self._following):
            if self.ended(name):
                self._judged(name, ())

    def wait(self, what, condition, seconds=120, pause=0.05):
        """wait_for, but a follower that ends meanwhile is a failure at once."""

        def watched():
            self.check_followers()
            return condition()

        try:
            return wait_for(what, watched, seconds, pause)
        except Exception as error:
            running = {name: self._processes.log_tail(name, 4) for name in sorted(self._following) if not self.ended(name)}
            raise ProgramFailed("\n".join([str(error), *(f"--- {name}\n{tail}" for name, tail in running.items())])) from error
