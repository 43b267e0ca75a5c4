#!/usr/bin/python3
"""The modes of lockstep-reorder besides gate and recover, on the real stack, and the outside against the ledger.

    modes.py [SCENARIO…]     default: all, one after the other, on one stack

Each scenario has a topic, producers and a group of its own and says in its docstring what must hold.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from processes import NotReady  # noqa: E402
from programs import ProgramFailed, Programs  # noqa: E402
from stack import Stack  # noqa: E402


class ClaimFailed(Exception):
    pass


def check(claim, holds, facts=""):
    if not holds:
        raise ClaimFailed(f"{claim}: {facts}")


class Scenario:
    """One topic with jsonl-fed producers and gates of one group, named after the scenario."""

    def __init__(self, stack, name):
        self.stack, self.name, self.programs = stack, name, Programs(stack)
        self.written = {}

    def create_topic(self, partitions=1):
        self.stack.create_topic("p", self.name, partitions)

    def at_p(self):
        return ["--topic", self.name, "--brokers", self.stack.brokers["p"], "--ledger", self.stack.ledger, "--format", "json"]

    def source(self, producer):
        return self.stack.directory / f"{self.name}.{producer}.jsonl"

    def write(self, producer, count, partitions=1):
        first = self.written.get(producer, 0) + 1
        with open(self.source(producer), "a") as file:
            for number in range(first, first + count):
                line = {"key": f"{producer}{number}", "value": f"{producer}{number}", "partition": number % partitions}
                file.write(json.dumps(line) + "\n")
        self.written[producer] = first + count - 1

    def producer(self, name):
        return ["lockstep-producer", "--name", f"{self.name}-{name}", *self.at_p(), "--source", f"jsonl:{self.source(name)}"]

    def produce(self, name):
        """Runs a producer over all that is there."""
        return self.programs.call(f"{self.name}-producer", [*self.producer(name), "--until-end"])

    def reorder(self, mode, sink, *flags):
        return ["lockstep-reorder", "--mode", mode, "--group", self.name, *self.at_p(), "--sink", sink, *flags]

    def order(self, partition=0):
        """The ledger's order: [(epoch, offset, producer, seq)]."""
        argv = ["lockstep-ledger", "order", "--stream", f"{self.name}/{partition}", "--ledger", self.stack.ledger, "--format", "json"]
        rows = map(json.loads, self.programs.call(f"{self.name}-order", argv).lines)
        return [(row["epoch"], row["offset"], row["producer"], row["seq"]) for row in rows]

    def cursor(self, partition=0):
        """(intent, done) as (epoch, offset) or None."""
        query = (
            "select intent_epoch, intent_offset, done_epoch, done_offset from lockstep.cursor join lockstep.stream using (stream) "
            f"where topic = '{self.name}' and partition = {partition}"
        )
        fields = [int(field) if field else None for field in self.stack.sql("pg_p", query).split("|")]
        pairs = fields if len(fields) == 4 else [None] * 4
        return tuple((e, o) if e is not None else None for e, o in (pairs[:2], pairs[2:]))


def records(lines):
    """What a jsonl sink wrote: [(epoch, offset, producer, seq)] and the records themselves; a torn last line is none."""
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [(row["epoch"], row["offset"], row["producer"], row["seq"]) for row in rows], rows


# --- replay -----------------------------------------------------------------------------------------------------------


def replay(s):
    """A killed gate's state is rebuilt: all of the order comes, what was sent is marked, the cursor ends at its end."""
    s.create_topic()
    s.write("a", 5000)
    s.write("b", 3000)
    s.produce("a")
    s.produce("b")
    s.programs.spawn(f"{s.name}-gate", s.reorder("gate", "jsonl:-"))
    s.programs.wait("part of it to be done", lambda: s.cursor()[1])
    s.stack.processes.kill([f"{s.name}-gate"])
    s.write("a", 4000)
    s.produce("a")
    intent, done = s.cursor()
    order = s.order()
    check("the gate was killed before the end", done < order[-1][:2], (done, order[-1]))

    argv = s.reorder("replay", "jsonl:-", "--until-end", "--in-doubt", "resend", "--old-gate-is-dead")
    outcome = s.programs.call(f"{s.name}-replay", argv)
    given, rows = records(outcome.lines)
    check("all of the ledger's order, once", given == order, (len(given), len(order)))
    for row in rows:
        at = row["epoch"], row["offset"]
        marks = row.get("replayed", False), row.get("in_doubt", False)
        check("what was sent is marked, what may have been is in doubt", marks == (at <= done, done < at <= intent), (row, done, intent))
    check("the cursor ends at the ledger's end", s.cursor() == (order[-1][:2],) * 2, s.cursor())

    again = s.programs.call(f"{s.name}-again", s.reorder("replay", "jsonl:-", "--until-end"))
    given, rows = records(again.lines)
    check("a second replay sends nothing new", given == order and all(row.get("replayed") for row in rows))
    refused = s.programs.call(f"{s.name}-refused", s.reorder("replay", f"jsonl:{s.stack.directory}/x"), expect=(2,))
    check("a file that is the outside is refused with a sentence", "the file is the outside" in refused.log, refused.log)


SCENARIOS = (replay,)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENARIO")
    options = parser.parse_args()
    known = {scenario.__name__: scenario for scenario in SCENARIOS}
    if unknown := set(options.names) - set(known):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        for name in options.names or known:
            begin = time.monotonic()
            try:
                known[name](Scenario(stack, name))
                print(f"ok in {time.monotonic() - begin:.1f} s: {name}: {known[name].__doc__}", flush=True)
            except (ClaimFailed, ProgramFailed, NotReady, RuntimeError) as error:
                failed.append(name)
                print(f"FAILED: {name}: {known[name].__doc__}\n{error}", flush=True)
            stack.processes.kill([part for part in stack.processes.parts if part.startswith(f"{name}-")])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
