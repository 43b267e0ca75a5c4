#!/usr/bin/python3
"""Gates are killed at random moments, in front of every sink that claims once-only; the outside is compared with the ledger.

    gate_kills.py [--rounds R] [--kills K] [--seed S]

Two producers fill a topic. For each sink a group of its own: its gate is started and SIGKILLed K times in the middle of its work, at the
primary; then the site is lost, the standby's empty Kafka is filled unordered from the sources (so that half of all records is parked), and
K recoveries are killed in front of each sink that survives, with the buffers in turn. A kill counts if work was left. In the end the
outside is the ledger's order, once, each with the value that was produced. Counts add up over runs in a journal.
"""

import argparse
import itertools
import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from modes import ClaimFailed, Scenario, check, records  # noqa: E402
import parts  # noqa: E402
import rounds  # noqa: E402
from processes import NotReady  # noqa: E402
from programs import ProgramFailed, Programs  # noqa: E402
from stack import Stack  # noqa: E402

OUTPUT = "written_on"
SHARE = 60_000  # Records of each producer at a time.
BUFFERS = (["--buffer", "auto", "--buffer-memory", "1MiB"], ["--buffer", "bounded", "--buffer-memory", "1MiB"], ["--buffer", "bounded", "--buffer-memory", "5000records"], ["--buffer", "memory"])


def value_of(producer, seq):
    """What Scenario.write gave a producer, whose seqs count its lines."""
    return f"{producer.rsplit('-', 1)[1]}{seq}"


def rows_of(s, database, table):
    query = f"select epoch, \"offset\", producer, seq, convert_from(value, 'UTF8') from {table} order by emitted"
    rows = (row.split("|") for row in s.stack.sql(database, query).splitlines())
    return [(int(epoch), int(offset), producer, int(seq), value) for epoch, offset, producer, seq, value in rows]


class Outside:
    """A group and its sink. `order()` is what left: [(epoch, offset, producer, seq, value)]."""

    survives = True  # The loss of site p.

    def __init__(self, s):
        self.s, self.group = s, f"{type(self).__name__.lower()}"

    def done(self):
        """How far the group is known to be, as (epoch, offset) or None."""
        s = self.s
        query = f"select done_epoch, done_offset from lockstep.cursor where group_name = '{self.group}'"
        fields = s.stack.sql(s.database, query).split("|")
        return (int(fields[0]), int(fields[1])) if fields[0] else None

    def argv(self, mode, *flags):
        return ["lockstep-reorder", "--mode", mode, "--group", self.group, *self.s.here(), *self.sink(), *flags]


class File(Outside):
    """Its lock fences, its end answers."""

    def sink(self):
        return ["--sink", f"jsonl:{self.s.stack.directory / 'outside.jsonl'}"]

    def order(self):
        given, rows = records((self.s.stack.directory / "outside.jsonl").read_text().splitlines())
        return [(*identity, row["value"]) for identity, row in zip(given, rows)]


class Table(Outside):
    """Rows and cursor are one transaction."""

    def sink(self):
        return ["--sink", f"table:public.{self.s.name}"]

    def order(self):
        return rows_of(self.s, self.s.database, self.s.name)


class Elsewhere(Outside):
    """A table that the gate believes to be in another database: it is asked."""

    survives = False

    def sink(self):
        other = self.s.stack.conninfo("pg_p") + " application_name=elsewhere"
        return ["--sink", "table:public.elsewhere", "--sink-db", other, "--old-gate-is-dead"]

    def order(self):
        return rows_of(self.s, "pg_p", "elsewhere")


class Topic(Outside):
    """A producer into another topic: its head is its cursor."""

    survives = False  # tests/e2e/chain.py loses a site with it.

    def sink(self):
        return ["--sink", f"kafka:{OUTPUT}"]

    def done(self):
        query = f"select last_at from lockstep.head join lockstep.stream using (stream) where topic = '{OUTPUT}' and last_seq > 0"
        at = self.s.stack.sql("pg_p", query)
        return tuple(map(int, at.split(":"))) if at else None

    def order(self):
        """Positions and values alone: identities are its own."""
        argv = ["lockstep-reorder", "--mode", "gate", "--group", "look", "--topic", OUTPUT, "--brokers", self.s.stack.brokers["p"]]
        argv += ["--ledger", self.s.stack.ledger, "--sink", "jsonl:-", "--until-end"]
        lines = self.s.programs.call("look", argv).lines
        return [(*map(int, row["at"].split(":")), row["value"]) for row in map(json.loads, lines)]


class Kills:
    def __init__(self, s, rng, kills):
        self.s, self.rng, self.kills = s, rng, kills
        self.number = itertools.count(1)
        self.facts = {"kills": 0, "idle_kills": 0, "records": 0}

    def fill(self):
        for producer in "ab":
            self.s.write(producer, SHARE)
            self.s.produce(producer)
        self.end = self.s.order()[-1][:2]

    def kill_some(self, outside, mode):
        """Starts and kills the gate until `kills` of the kills found work left."""
        s, killed = self.s, 0
        while killed < self.kills:
            if outside.done() == self.end:
                self.fill()
            name = f"{s.name}-{outside.group}-{next(self.number)}"
            s.programs.spawn(name, outside.argv(mode, *BUFFERS[killed % len(BUFFERS)]))
            begun = lambda: any(word in s.stack.processes.log_tail(name) for word in ("gate_opened", "tenure_begun"))  # noqa: E731
            s.programs.wait(f"{name} to begin", lambda: begun() or s.programs.ended(name), pause=0.01)
            time.sleep(self.rng.uniform(0, 0.4))  # The moment is the experiment.
            if s.programs.ended(name):
                raise ProgramFailed(f"{name} ended by itself\n{s.stack.processes.log_tail(name)}")
            s.stack.processes.kill([name])
            left = outside.done() != self.end
            killed += left
            self.facts["kills" if left else "idle_kills"] += 1

    def finish(self, outside, mode):
        self.s.programs.call(f"{self.s.name}-{outside.group}-end", outside.argv(mode, "--until-end"))

    def judge(self, outside):
        order = [(*row, value_of(row[2], row[3])) for row in self.s.order()]
        if isinstance(outside, Topic):
            order = [(*row[:2], row[4]) for row in order]
        left = outside.order()
        check(f"{outside.group}: the ledger's order left, once, with the values that were produced", left == order, (len(left), len(set(left)), len(order)))
        self.facts["records"] += len(left)

    def run(self):
        s = self.s
        s.create_topic()
        s.stack.create_topic("p", OUTPUT, 1)
        self.fill()
        outsides = [kind(s) for kind in (File, Table, Elsewhere, Topic)]
        for outside in outsides:
            self.kill_some(outside, "gate")
            if not outside.survives:
                self.finish(outside, "gate")
                self.judge(outside)
        s.lose_the_site([])
        survivors = [outside for outside in outsides if outside.survives]
        for outside in survivors:
            self.kill_some(outside, "recover")
        for outside in survivors:
            self.finish(outside, "recover")
            self.judge(outside)


def one_round(kills, seed):
    """On a stack of its own; a line in the journal. Returns whether all held."""
    print(f"seed {seed}", flush=True)
    begin, failed = time.monotonic(), ""
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        work = Kills(Scenario(stack, "kills"), random.Random(seed), kills)
        try:
            work.run()
        except (ClaimFailed, ProgramFailed, NotReady, RuntimeError) as error:
            failed = str(error)
    entry = {"commit": rounds.commit_id(), "seed": seed, "ok": not failed, **work.facts, "seconds": round(time.monotonic() - begin, 1)}
    journal = parts.cache_dir() / "gate-kills-journal.jsonl"
    with open(journal, "a") as file:
        file.write(json.dumps(entry) + "\n")
    history = [json.loads(line) for line in journal.read_text().splitlines()]
    print(f"FAILED: {failed}" if failed else f"ok: {json.dumps(work.facts)}")
    counted = sum(one["kills"] for one in history if one["ok"])
    print(f"on this machine so far {counted} kills in {len(history)} runs, {sum(not one['ok'] for one in history)} of them failed ({journal})", flush=True)
    return not failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3, help="for each sink and site (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="each with new sites, so that the topic does not grow with the kills (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the first round's moments (default: random)")
    options = parser.parse_args()
    return 0 if all([one_round(options.kills, options.seed + number) for number in range(options.rounds)]) else 1


if __name__ == "__main__":
    sys.exit(main())
