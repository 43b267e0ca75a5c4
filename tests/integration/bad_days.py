#!/usr/bin/python3
"""Bad days with both sites alive, on the real stack: the shipped programs stall or refuse, and never lose or double.

    bad_days.py [SCENARIO…]     default: all, one after the other, on one stack

Each scenario has a topic, a producer and a group of its own and says in its docstring what must hold.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from programs import ProgramFailed, Programs  # noqa: E402
from processes import NotReady, wait_for  # noqa: E402
from stack import Stack  # noqa: E402

REFUSED = 3


class Scenario:
    """One topic with one jsonl-fed producer `a` and one gate to a file, named after the scenario."""

    def __init__(self, stack, name):
        self.stack, self.name, self.programs = stack, name, Programs(stack)
        self.topic = name
        self.source = stack.directory / f"{name}.source.jsonl"
        self.outside = stack.directory / f"{name}.outside.jsonl"
        self.written = 0
        self.source.touch()
        stack.create_topic("p", self.topic)

    def write(self, count):
        with open(self.source, "a") as file:
            for self.written in range(self.written + 1, self.written + count + 1):
                file.write(json.dumps({"key": f"k{self.written % 7}", "value": f"{self.name}-{self.written}"}) + "\n")

    def producer_argv(self, *flags, name="a", ledger=None, source=None):
        argv = ["lockstep-producer", "--name", f"{self.name}-{name}", "--topic", self.topic, "--brokers", self.stack.brokers["p"]]
        return argv + ["--ledger", ledger or self.stack.ledger, "--source", source or f"jsonl:{self.source}", "--format", "json", *flags]

    def gate_argv(self, *flags, sink=None, group="g"):
        argv = ["lockstep-reorder", "--mode", "gate", "--group", f"{self.name}-{group}", "--topic", self.topic]
        argv += ["--brokers", self.stack.brokers["p"], "--ledger", self.stack.ledger, "--format", "json"]
        return argv + ["--sink", sink or f"jsonl:{self.outside}", *flags]

    def follow_both(self):
        self.programs.follow(f"{self.name}-producer", self.producer_argv())
        self.programs.follow(f"{self.name}-gate", self.gate_argv())

    def stop_both(self):
        self.programs.stop(f"{self.name}-producer")
        self.programs.stop(f"{self.name}-gate")

    def effects(self):
        """The values that left, in order."""
        if not self.outside.exists():
            return []
        return [json.loads(line)["value"] for line in self.outside.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def await_effects(self, count):
        self.programs.wait(f"{count} effects", lambda: len(self.effects()) >= count)

    def check_everything_once(self):
        self.await_effects(self.written)
        expected = [f"{self.name}-{number}" for number in range(1, self.written + 1)]
        check("everything left once, in order", self.effects() == expected)

    def ledgered(self):
        """Records in the ledger, asked at whatever database answers as primary."""
        head = self.stack.sql("pg_p", f"select coalesce(sum(h.last_seq), 0) from lockstep.head h join lockstep.stream s using (stream) where s.topic = '{self.topic}'")
        return int(head)


    def terms(self):
        query = f"select max(term) from lockstep.head join lockstep.stream using (stream) where topic = '{self.topic}'"
        return int(self.stack.sql("pg_p", query) or 0)


class ClaimFailed(Exception):
    pass


def check(claim, holds):
    if not holds:
        raise ClaimFailed(claim)


def stays(what, value, seconds=2.0):
    """The value does not change for a while; for what must not happen there is no condition to wait for."""
    before = value()
    try:
        wait_for(what, lambda: value() != before, seconds)
    except NotReady:
        return
    raise ClaimFailed(f"{what}: {before} became {value()}")


def broker_dies_and_returns(s):
    """A killed broker is waited for by producer and gate alike."""
    s.follow_both()
    s.write(2000)
    s.await_effects(1)
    s.stack.kill("kafka_p")
    s.write(2000)
    s.stack.restart("kafka_p")
    s.write(1000)
    s.check_everything_once()
    s.stop_both()


def broker_away_at_start(s):
    """Without a broker a program says so and exits 2, or waits; either way nothing is lost."""
    s.write(500)
    s.stack.pause("kafka_p")
    try:
        s.programs.spawn(f"{s.name}-producer", s.producer_argv("--until-end"))
        stays("records", s.ledgered, 1.0)
    finally:
        s.stack.resume("kafka_p")
    s.programs.wait("the producer to end", lambda: s.programs.ended(f"{s.name}-producer"))
    s.programs.call(f"{s.name}-again", s.producer_argv("--until-end"))
    s.programs.call(f"{s.name}-gate", s.gate_argv("--until-end"))
    s.check_everything_once()


def standby_away(s):
    """While the standby database is away nothing leaves; when it is back all of it does."""
    s.follow_both()
    s.write(1000)
    s.check_everything_once()
    s.stack.pause("pg_s")
    try:
        s.write(1000)
        stays("effects", lambda: len(s.effects()))
    finally:
        s.stack.resume("pg_s")
    s.check_everything_once()
    s.stop_both()


def synchronous_setting_emptied(s):
    """With synchronous_standby_names emptied and the standby away commits return, but the witness does not vouch: nothing leaves."""
    s.follow_both()
    s.write(1000)
    s.check_everything_once()
    s.stack.pause("pg_s")
    try:
        s.stack.sql("pg_p", "alter system set synchronous_standby_names = ''; select pg_reload_conf()")
        s.write(1000)
        stays("effects", lambda: len(s.effects()), 3.0)
    finally:
        s.stack.resume("pg_s")
        s.stack.sql("pg_p", "alter system set synchronous_standby_names = 'FIRST 1 (dr)'; select pg_reload_conf()")
    s.check_everything_once()
    s.stop_both()


def second_producer_fences_the_first(s):
    """A second live process of one name takes over; the first ends with 3."""
    s.follow_both()
    s.write(500)
    s.await_effects(1)
    s.programs.follow(f"{s.name}-second", s.producer_argv())
    s.programs.wait("the second tenure", lambda: s.terms() == 2)
    s.write(500)  # the first learns of it with its next append
    s.programs.end(f"{s.name}-producer", expect=(REFUSED,))
    s.write(500)
    s.check_everything_once()
    s.programs.stop(f"{s.name}-second")
    s.programs.stop(f"{s.name}-gate")


def second_gate_fences_the_first(s):
    """A second gate of one group takes the cursor; the first ends with 3, and the table has every row once."""
    table = f"table:public.{s.name}"
    s.programs.follow(f"{s.name}-producer", s.producer_argv())
    s.programs.follow(f"{s.name}-gate", s.gate_argv(sink=table))
    s.write(500)
    rows = lambda: int(s.stack.sql("pg_p", f"select count(*) from public.{s.name}", check=False) or 0)  # noqa: E731
    s.programs.wait("rows", lambda: rows() == 500)
    s.programs.follow(f"{s.name}-second", s.gate_argv(sink=table))
    s.programs.end(f"{s.name}-gate", expect=(REFUSED,))
    s.write(500)
    s.programs.wait("all rows", lambda: rows() >= 1000)
    distinct = s.stack.sql("pg_p", f"select count(*), count(distinct (producer, seq)) from public.{s.name}")
    check("every row once", distinct == "1000|1000")
    s.programs.stop(f"{s.name}-second")
    s.programs.stop(f"{s.name}-producer")


def not_the_outside(s):
    """A gate does not go on with a file that is not the one its cursor speaks of, and says so."""
    s.write(300)
    s.programs.call(f"{s.name}-producer", s.producer_argv("--until-end"))
    s.programs.call(f"{s.name}-gate", s.gate_argv("--until-end"))
    s.check_everything_once()
    kept = s.outside.with_suffix(".kept")
    shutil.copy(s.outside, kept)
    s.outside.write_text("".join(s.outside.read_text().splitlines(keepends=True)[:100]))
    refused = s.programs.call(f"{s.name}-cut", s.gate_argv("--until-end"), expect=(REFUSED,))
    check("the reason is named", "not-the-outside" in refused.log)
    shutil.copy(kept, s.outside)
    s.write(100)
    s.programs.call(f"{s.name}-more", s.producer_argv("--until-end"))
    s.programs.call(f"{s.name}-on", s.gate_argv("--until-end"))
    s.check_everything_once()


def source_shrank(s):
    """A source file that ends before what the ledger has of it is refused."""
    s.write(300)
    s.programs.call(f"{s.name}-producer", s.producer_argv("--until-end"))
    s.source.write_text("".join(s.source.read_text().splitlines(keepends=True)[:100]))
    s.programs.call(f"{s.name}-short", s.producer_argv("--until-end"), expect=(REFUSED,))


def source_changed(s):
    """Another SOURCE for a known producer is refused."""
    s.write(10)
    s.programs.call(f"{s.name}-producer", s.producer_argv("--until-end"))
    other = s.source.with_suffix(".other")
    shutil.copy(s.source, other)
    s.programs.call(f"{s.name}-other", s.producer_argv("--until-end", source=f"jsonl:{other}"), expect=(REFUSED,))


def cached_sequence(s):
    """A serial column whose sequence has CACHE > 1 hands ids out of order: refused at the start, with the reason."""
    s.stack.sql("pg_p", f"create table {s.name} (id bigserial primary key, value text); alter sequence {s.name}_id_seq cache 10")
    refused = s.programs.call(
        f"{s.name}-producer", s.producer_argv("--until-end", source=f"table:public.{s.name}?id=id&value=value"), expect=(2, REFUSED)
    )
    check("the reason is named", "cache" in refused.log.lower())


def missing_topic(s):
    """A topic that does not exist is an error with its name, not a topic made in passing."""
    s.write(1)
    s.topic = "no_such_topic"
    refused = s.programs.call(f"{s.name}-producer", s.producer_argv("--until-end"), expect=(2,))
    check("the topic is named", "no_such_topic" in refused.log)


def wrong_password(s):
    """Wrong credentials are exit 2, and the password is in no log."""
    s.write(1)
    ledger = s.stack.ledger.replace("user=postgres", "user=clerk")
    refused = s.programs.call(f"{s.name}-producer", s.producer_argv("--until-end", ledger=ledger), env={"PGPASSWORD": "wrong-7281"}, expect=(2,))
    check("the user is named", "clerk" in refused.log)
    check("the password is not", "wrong-7281" not in refused.log)


def mirror_starts_over(s):
    """MirrorMaker 2 without its offsets copies everything again: duplicates at the standby, no gap."""
    s.write(2000)
    s.programs.call(f"{s.name}-producer", s.producer_argv("--until-end"))
    s.programs.wait("the mirror", lambda: s.stack.end_offset("s", s.topic) >= 2000)
    s.stack.kill("mm2")
    config = s.stack.mm2_config.read_text()
    s.stack.mm2_config.write_text(config + "offset.storage.topic=mm2-offsets-lost\n")
    s.stack.restart("mm2")
    s.programs.wait("the copy of the copy", lambda: s.stack.end_offset("s", s.topic) >= 4000)
    argv = ["lockstep-mirror-reconcile", "gap", "--topic", s.topic, "--brokers", s.stack.brokers["s"]]
    gap = s.programs.call(f"{s.name}-gap", argv + ["--ledger", s.stack.ledger, "--format", "json"])
    check("no gap", gap.code == 0)


SCENARIOS = [
    broker_dies_and_returns,
    broker_away_at_start,
    standby_away,
    synchronous_setting_emptied,
    second_producer_fences_the_first,
    second_gate_fences_the_first,
    not_the_outside,
    source_shrank,
    source_changed,
    cached_sequence,
    missing_topic,
    wrong_password,
    mirror_starts_over,
]


def main(names):
    chosen = [scenario for scenario in SCENARIOS if not names or scenario.__name__ in names]
    failed = []
    with Stack(policy="identity", hba="host all clerk 127.0.0.1/32 scram-sha-256") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        stack.sql("pg_p", "create role clerk login password 'right-1234'; grant lockstep_writer to clerk")
        for scenario in chosen:
            try:
                scenario(Scenario(stack, scenario.__name__))
                print(f"ok: {scenario.__name__}: {scenario.__doc__}", flush=True)
            except (ClaimFailed, ProgramFailed, NotReady, RuntimeError) as error:
                failed.append(scenario.__name__)
                print(f"FAILED: {scenario.__name__}: {scenario.__doc__}\n{error}", flush=True)
            # Whatever a failed scenario left running must not disturb the next.
            mine = [name for name in stack.processes.parts if name.startswith(scenario.__name__)]
            stack.processes.kill(mine)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
