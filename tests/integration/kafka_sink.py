#!/usr/bin/python3
"""A stream into another topic (`--sink kafka:…`) as its operator meets it, on the real stack.

    kafka_sink.py [SCENARIO…]     default: all, one after the other

Each scenario has topics, a producer and sinks of its own and says in its docstring what must hold.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from programs import Programs  # noqa: E402
from stack import Stack  # noqa: E402

YES, COULD_NOT, REFUSED, INTERRUPTED = 0, 2, 3, 130
DRAIN_SECONDS = 5


class ClaimFailed(Exception):
    pass


def check(claim, holds, facts=""):
    if not holds:
        raise ClaimFailed(f"{claim}: {facts}")


class Chain:
    """`NAME` with one jsonl-fed producer, and `NAME-out`, both of one partition."""

    def __init__(self, stack, name):
        self.stack, self.name, self.output = stack, name, f"{name}-out"
        self.programs, self.written = Programs(stack), 0
        self.source = stack.directory / f"{name}.jsonl"
        for topic in (self.name, self.output):
            stack.create_topic("p", topic)

    def call(self, name, argv, **options):
        return self.programs.call(f"{self.name}-{name}", argv, **options)

    def write(self, count, pad=""):
        with open(self.source, "a") as file:
            for number in range(self.written + 1, self.written + count + 1):
                file.write(json.dumps({"key": f"k{number % 7}", "value": f"{number}{pad}"}) + "\n")
        self.written += count
        source = ["--source", f"jsonl:{self.source}", "--until-end"]
        self.call("producer", ["lockstep-producer", "--name", self.name, *self.at(self.name), *source])

    def at(self, topic):
        return ["--topic", topic, "--brokers", self.stack.brokers["p"], "--ledger", self.stack.ledger, "--format", "json"]

    def sink(self, group, *flags):
        argv = ["lockstep-reorder", "--mode", "gate", "--group", group, *self.at(self.name), "--sink", f"kafka:{self.output}"]
        return [*argv, "--payload-in-ledger", *flags]

    def producer_of(self, group):
        return f"{group}@{self.name}/0"

    def seal(self, group, *flags, **options):
        argv = ["lockstep-ledger", "seal", self.producer_of(group), "--retired", "--ledger", self.stack.ledger, "--format", "json"]
        return self.call("seal", [*argv, *flags], **options)

    def prune(self, below, **options):
        argv = ["lockstep-ledger", "prune", "--topic", self.name, "--ledger", self.stack.ledger, "--format", "json"]
        return self.call("prune", [*argv, "--below", f"1:{below}", "--execute", "--yes"], **options)

    def ledgered(self):
        """How many records the ledger has of the output."""
        query = "select coalesce(sum(last_seq), 0) from lockstep.head join lockstep.stream using (stream) where topic = "
        return int(self.stack.sql("pg_p", f"{query}'{self.output}'"))

    def log(self):
        """The output's records as any consumer reads them: the numbers of their lines."""
        argv = ["kcat", "-C", "-b", self.stack.brokers["p"], "-t", self.output, "-o", "beginning", "-e", "-q", "-f", "%s\n"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
        return [int(line.rstrip("x")) for line in done.stdout.splitlines()]


def retired(c):
    """A sink that will not come back holds up prune until it is retired; from then on nobody starts under its name."""
    c.write(20)
    for group in ("old", "live"):
        c.call(group, c.sink(group, "--until-end"))
    c.write(30)
    c.call("live", c.sink("live", "--until-end"))

    held = c.prune(40, expect=(REFUSED,))
    check("the sink that lags holds it up, by name and with the remedy", f"lockstep-ledger seal {c.producer_of('old')} --retired" in held.log, held.log)
    plan = c.seal("old")
    check("without --execute it is a plan", plan.summary["executed"] is False and plan.summary["sent"] == "1:19", plan.summary)
    check("that changes nothing", "has sent only up to 1:19" in c.prune(40, expect=(REFUSED,)).log)
    ordinary = ["lockstep-ledger", "seal", c.name, "--retired", "--execute", "--yes", "--ledger", c.stack.ledger]
    check("an ordinary producer has nothing to retire", "--retired is for a Kafka sink" in c.call("ordinary", ordinary, expect=(COULD_NOT,)).log)

    done = c.seal("old", "--execute", "--yes").summary
    check("it is sealed where it wrote", done["executed"] and done["sealed"] == [f"{c.output}/0"], done)
    check("again is harmless", c.seal("old", "--execute", "--yes").summary["executed"])
    refused = c.call("again", c.sink("old", "--until-end"), expect=(REFUSED,))
    check("a start is refused with the remedy", "was retired" in refused.log and "another --group" in refused.log, refused.log)
    planned = c.call("planned", c.sink("old", "--plan"), expect=(REFUSED,))
    check("and so is its plan", "was retired" in planned.log, planned.log)

    check("prune goes by it", c.prune(40).summary["pruned_runs"] > 0)
    check("and stops at the one that is not retired", c.producer_of("live") in c.prune(60, expect=(REFUSED,)).log)
    c.write(5)
    check("which goes on", c.call("live", c.sink("live", "--until-end")).summary["emitted"] == 5)

    c.programs.follow(f"{c.name}-following", c.sink("live"))
    c.write(5)
    c.programs.wait("the follower to have written", lambda: c.ledgered() == 20 + 60)
    c.programs.forget([f"{c.name}-following"])  # It may end from now on.
    c.seal("live", "--execute", "--yes")
    c.write(5)
    fenced = c.programs.end(f"{c.name}-following", (REFUSED,))
    check("one that runs is fenced", "fenced" in fenced.log or "was retired" in fenced.log, fenced.log)
    check("what it had no row for never comes", c.ledgered() == 20 + 60, c.ledgered())


def plan(c):
    """--plan begins where the run would."""
    c.write(100)
    at = lambda: c.call("plan", c.sink("g", "--plan")).summary  # noqa: E731
    new = at()
    check("a new group's run would begin at the start", (new["records"], new["streams"][0]["from"]) == (100, "start"), new)
    c.call("run", c.sink("g", "--until-end"))
    c.write(25)
    later = at()
    check("another one's behind what it wrote", (later["records"], later["streams"][0]["from"]) == (25, "1:99"), later)
    check("as it does", c.call("run", c.sink("g", "--until-end")).summary["emitted"] == 25)


def stop_with_a_backlog(c, before_the_stop, and_after=lambda: None):
    """Stops a sink in the middle of its work and starts it again; the summary of the one that was stopped."""
    c.write(40_000, pad="x" * 2_000)
    c.programs.follow(f"{c.name}-sink", c.sink("g", "--drain-timeout", f"{DRAIN_SECONDS}s"))
    c.programs.wait("a part of it", lambda: c.ledgered() > 0, pause=0.01)
    before_the_stop()
    began = time.monotonic()
    try:
        outcome = c.programs.stop(f"{c.name}-sink", expect=(INTERRUPTED,))
    finally:
        and_after()
    took = time.monotonic() - began
    check("it ends in time", took < DRAIN_SECONDS + 10, took)
    check("with a part of it written, which is ledgered", 0 < outcome.summary["emitted"] <= c.ledgered() < c.written, outcome.summary)
    c.call("rest", c.sink("g", "--until-end"))
    check("the next start writes the rest", c.ledgered() == c.written, c.ledgered())
    check("each once and in order, for any consumer", c.log() == list(range(1, c.written + 1)), len(c.log()))
    check("and there is nothing left", c.call("again", c.sink("g", "--until-end")).summary["emitted"] == 0)
    return outcome.summary


def stopped(c):
    """SIGTERM with a backlog: exit 130 in time, and the next start goes on: once each, in order, in the topic itself."""
    stop_with_a_backlog(c, lambda: None)


def stopped_while_nothing_is_durable(c):
    """The same while the ledger's standby hangs: what lies in Kafka without a row is not written again."""
    stop_with_a_backlog(c, lambda: c.stack.pause("pg_s"), lambda: c.stack.resume("pg_s"))


SCENARIOS = {scenario.__name__: scenario for scenario in (retired, plan, stopped, stopped_while_nothing_is_durable)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    names = parser.parse_args().scenarios or list(SCENARIOS)
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        for name in names:
            SCENARIOS[name](Chain(stack, name))
            print(f"ok: {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
