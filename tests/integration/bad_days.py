#!/usr/bin/python3
"""Bad days with both sites alive, on the real stack: the shipped programs stall or refuse, and never lose or double.

    bad_days.py [--long] [SCENARIO…]     default: the short ones (--long: the others), one after the other, on one stack

Each scenario has a topic, a producer and a group of its own and says in its docstring what must hold. What no real part
can be brought to do is in unit and fault tests; tests/README.md has the whole list.
"""

import argparse
import glob
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import kafka_admin  # noqa: E402
import parts  # noqa: E402
from programs import BIN, ProgramFailed, Programs  # noqa: E402
from processes import NotReady, wait_for  # noqa: E402
from stack import Stack  # noqa: E402

NO, COULD_NOT, REFUSED, INTERRUPTED = 1, 2, 3, 130


class Scenario:
    """One topic with one jsonl-fed producer `a` and one gate to a file, named after the scenario."""

    def __init__(self, stack, name):
        self.stack, self.name, self.programs = stack, name, Programs(stack)
        self.broker, self.topic, self.primary = stack.brokers["p"], name, "pg_p"
        self.source = stack.directory / f"{name}.source.jsonl"
        self.outside = stack.directory / f"{name}.outside.jsonl"
        self.written = 0
        self.source.touch()
        stack.create_topic("p", self.topic)

    def write(self, count, pad=""):
        with open(self.source, "a") as file:
            for self.written in range(self.written + 1, self.written + count + 1):
                file.write(json.dumps({"key": f"k{self.written % 7}", "value": f"{self.name}-{self.written}{pad}"}) + "\n")

    def producer_argv(self, *flags, name="a", ledger=None, source=None):
        argv = ["lockstep-producer", "--name", f"{self.name}-{name}", "--topic", self.topic, "--brokers", self.broker]
        return argv + ["--ledger", ledger or self.stack.ledger, "--source", source or f"jsonl:{self.source}", "--format", "json", *flags]

    def gate_argv(self, *flags, sink=None, group="g"):
        argv = ["lockstep-reorder", "--mode", "gate", "--group", f"{self.name}-{group}", "--topic", self.topic]
        argv += ["--brokers", self.broker, "--ledger", self.stack.ledger, "--format", "json"]
        return argv + ["--sink", sink or f"jsonl:{self.outside}", *flags]

    def produce(self, *flags, expect=(0,), **options):
        """Runs a producer over all that is there."""
        return self.programs.call(f"{self.name}-producer", self.producer_argv("--until-end", *flags, **options), expect=expect)

    def let_out(self, *flags, expect=(0,), **options):
        """Runs a gate over all that is there."""
        return self.programs.call(f"{self.name}-gate", self.gate_argv("--until-end", *flags, **options), expect=expect)

    def follow_both(self, env=None):
        self.programs.follow(f"{self.name}-producer", self.producer_argv(), env=env)
        self.programs.follow(f"{self.name}-gate", self.gate_argv(), env=env)

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

    def write_to_log(self, *headers):
        """Puts records with these `lockstep` headers into the log past every producer; None: a foreign one."""
        for header in headers:
            argv = ["kcat", "-P", "-b", self.broker, "-t", self.topic, "-p", "0", "-k", "k1"]
            argv += ["-H", f"lockstep={header}"] if header else []
            subprocess.run(argv, input=b"from elsewhere", check=True, timeout=60)

    def make_topic_anew(self):
        """The topic is deleted and made again, without its records."""
        kafka_admin.delete_topic(self.broker, self.topic)
        self.programs.wait("the topic to go", lambda: self.stack.end_offset("p", self.topic) == 0)
        self.programs.wait("a new topic", self._made_anew)

    def _made_anew(self):
        try:
            self.stack.create_topic("p", self.topic)
            return True
        except kafka_admin.KafkaError:  # The broker still removes the old one.
            return False

    def says(self, event):
        """The following producer has logged the event."""
        return event in self.stack.processes.log_tail(f"{self.name}-producer")

    def _asked(self, what, table):
        query = f"select coalesce({what}, 0) from lockstep.{table} join lockstep.stream using (stream) where topic = '{self.topic}'"
        return int(self.stack.sql(self.primary, query))

    def ledgered(self):
        return self._asked("sum(last_seq)", "head")

    def term(self):
        """The newest tenure of the producer."""
        return self._asked("max(term)", "head")

    def gate_term(self):
        return self._asked("max(term)", "cursor")


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


def rows_out_of_order(s):
    """In the table of the scenario's name: how many do not follow the one that came before."""
    step = f"select seq - lag(seq) over (order by emitted) as step from public.{s.name}"
    return int(s.stack.sql("pg_p", f"select count(*) from ({step}) as steps where step <> 1"))


# --- Kafka ------------------------------------------------------------------------------------------------------------


def broker_dies_and_returns(s):
    """A killed broker is waited for by producer and gate alike."""
    _dies_and_returns(s, "kafka_p")


def _dies_and_returns(s, part):
    s.follow_both()
    s.write(3000)
    s.await_effects(1)
    s.stack.kill(part)
    s.write(3000)
    s.stack.restart(part)
    s.write(1000)
    s.check_everything_once()
    s.stop_both()


def broker_away_at_start(s):
    """Without a broker a program says so and exits 2, or waits; either way nothing is lost."""
    s.write(500)
    s.stack.pause("kafka_p")
    try:
        s.programs.spawn(f"{s.name}-first", s.producer_argv("--until-end"))
        stays("records", s.ledgered, 1.0)
    finally:
        s.stack.resume("kafka_p")
    s.programs.end(f"{s.name}-first", expect=(0, COULD_NOT))
    s.produce()
    s.let_out()
    s.check_everything_once()


def missing_topic(s):
    """A topic or partition that does not exist is an error with its name, not one made in passing."""
    s.write(1)
    refused = s.produce("--partition", "5", expect=(COULD_NOT,))
    check(f"the partition is named in: {refused.log}", "partition 5" in refused.log)
    argv = [f"{s.topic}/5" if word == s.topic else word.replace("--topic", "--stream") for word in s.gate_argv("--until-end")]
    refused = s.programs.call(f"{s.name}-gate", argv, expect=(COULD_NOT,))
    check(f"the partition is named in: {refused.log}", f"{s.topic}/5" in refused.log)
    s.topic = "no_such_topic"
    for refused in (s.produce(expect=(COULD_NOT,)), s.let_out(expect=(COULD_NOT,))):
        check("the topic is named", "no_such_topic" in refused.log)


def partition_count_changed(s):
    """A topic that got more partitions is refused by a producer: keys would change their stream. What was ledgered leaves."""
    s.write(500)
    s.produce()
    kafka_admin.create_partitions(s.broker, s.topic, 2)
    refused = s.produce(expect=(COULD_NOT, REFUSED))
    check("the reason is named", "2 partitions, the ledger knows 1" in refused.log)
    s.let_out()
    s.check_everything_once()


def retention_removed_what_was_not_sent(s):
    """Records that the ledger names and no gate has sent are gone from the log: refused with the offset, nothing is skipped but by a person's word."""
    s.write(600)
    s.produce()
    kafka_admin.delete_records(s.broker, s.topic, 300)
    refused = s.let_out(sink="jsonl:-", expect=(NO,))
    check("the reason is named", "was removed by retention: the log begins at 300" in refused.log)
    check("nothing left", refused.lines == [])
    here = ["--ledger", s.stack.ledger, "--brokers", s.broker]
    why = s.programs.call(f"{s.name}-why", ["lockstep-ledger", "why", "--stream", f"{s.topic}/0", *here, "--format", "json"]).summary
    command = re.search("lockstep-ledger cursor set .*", why["command"]).group(0)
    s.programs.call(f"{s.name}-set", [*command.split(), "--ledger", s.stack.ledger, "--execute", "--yes"])
    left = [json.loads(line)["seq"] for line in s.let_out(sink="jsonl:-").lines]
    check("what the log has of them left", left == list(range(301, 601)))


def retention_removed_what_was_sent(s):
    """Retention below the cursor harms nobody: a producer none of whose records is left, and the gate, go on."""
    s.write(600)
    s.produce()
    mine, s.source = s.source, s.source.with_suffix(".other")
    s.write(10)
    s.produce(name="b")
    s.source = mine
    s.let_out()
    kafka_admin.delete_records(s.broker, s.topic, 600)
    s.write(100)
    s.produce()
    s.let_out()
    s.check_everything_once()


def log_shorter_than_the_ledger(s):
    """A topic that was made anew ends below what the ledger names: the producer refuses, the gate names the record and sends nothing."""
    s.write(500)
    s.produce()
    s.make_topic_anew()
    s.write(100)
    refused = s.produce(expect=(REFUSED,))
    check("the reason is named", "inconsistent-offsets" in refused.log)
    named = f"({s.name}-a, term 1, seq 1) at 1:0: in the ledger, above the end of the log"
    refused = s.let_out(expect=(NO,))
    check(f"the record is named in: {refused.log}", named in refused.log)
    s.programs.follow(f"{s.name}-follower", s.gate_argv("--stall-timeout", "1s"))
    refused = s.programs.end(f"{s.name}-follower", expect=(REFUSED,))
    check(f"a follower stops, too: {refused.log}", "inconsistent-offsets" in refused.log and named in refused.log)
    check("nothing left", s.effects() == [])


def log_longer_than_the_ledger(s):
    """A record that nobody ledgers is waited for by name, and what lies behind it as well; sealing its producer lets the rest out."""
    s.write(100)
    s.produce()
    s.write_to_log(f"1/101/101/{s.name}-a")
    lines = s.source.read_text().splitlines(keepends=True)
    s.source = s.source.with_suffix(".b")
    s.write(50)
    s.produce(name="b")
    refused = s.let_out("--stall-timeout", "1s", expect=(NO,))
    check(f"the record is named in: {refused.log}", f"({s.name}-a, term 1, seq 101) at 1:100: in the log, not settled by the ledger" in refused.log)
    check("what came before it left", len(s.effects()) == len(lines))
    s.programs.call(f"{s.name}-seal", ["lockstep-ledger", "seal", f"{s.name}-a", "--ledger", s.stack.ledger])
    s.let_out()
    s.check_everything_once()


def log_contradicts_the_ledger(s):
    """A log that holds other records where the ledger names ours: refused with both, nothing leaves."""
    s.write(3)
    s.produce()
    s.make_topic_anew()
    s.write_to_log(*(f"1/{seq}/{seq}/{s.name}-a" for seq in (2, 1, 3)))
    for flags in (["--until-end"], []):
        s.programs.spawn(f"{s.name}-gate", s.gate_argv(*flags))
        refused = s.programs.end(f"{s.name}-gate", expect=(REFUSED,))
        both = f"position 1:0 holds ({s.name}-a, term 1, seq 1); the log holds ({s.name}-a, term 1, seq 2) there"
        check(f"both are named in: {refused.log}", "inconsistent-offsets" in refused.log and both in refused.log)
    check("nothing left", s.effects() == [])


def foreign_records_between_ours(s):
    """A record without our header stops the gate behind what came before it; --foreign pass steps over it. A header that cannot be read stops it always, until it is deleted."""
    s.write(10)
    s.produce()
    s.write_to_log(None)
    s.write(10)
    s.produce("--foreign", "pass")
    refused = s.let_out(expect=(REFUSED,))
    check(f"the offset is named in: {refused.log}", "log offset 10 carries no record header; --foreign=pass" in refused.log)
    check("what came before it left", len(s.effects()) == 10)
    passed = s.let_out("--foreign", "pass")
    check("the others left", passed.summary["emitted"] == 10)
    s.check_everything_once()
    s.write_to_log("1/x//somebody")
    s.programs.spawn(f"{s.name}-follower", s.gate_argv("--foreign", "pass"))
    refused = s.programs.end(f"{s.name}-follower", expect=(COULD_NOT,))
    check(f"field and offset are named in: {refused.log}", "record header at offset 21" in refused.log and "seq is not a positive decimal" in refused.log)
    s.write(5)
    s.produce("--no-adopt", "--foreign", "pass")
    kafka_admin.delete_records(s.broker, s.topic, 22)
    s.let_out()
    s.check_everything_once()


def record_too_large(s):
    """A record that the broker refuses for good stops the producer with its name; what came before it leaves, and no hole."""
    kafka_admin.create_topic(s.broker, f"{s.topic}_small", config={"max.message.bytes": 20_000})
    s.topic += "_small"
    s.write(100)
    s.produce()
    s.write(1, pad="x" * 50_000)
    s.write(10)
    refused = s.produce(expect=(COULD_NOT,))
    check("the record is named", "101" in refused.log and "large" in refused.log.lower())
    check("nothing behind it is ledgered", s.ledgered() == 100)
    s.written = 100
    s.let_out()
    s.check_everything_once()


def mirror_starts_over(s):
    """MirrorMaker 2 without its offsets copies everything again: duplicates at the standby, no gap."""
    s.write(2000)
    s.produce()
    s.programs.wait("the mirror", lambda: s.stack.end_offset("s", s.topic) >= 2000)
    s.stack.kill("mm2")
    config = s.stack.mm2_config.read_text()
    s.stack.mm2_config.write_text(config + "offset.storage.topic=mm2-offsets-lost\n")
    s.stack.restart("mm2")
    s.programs.wait("the copy of the copy", lambda: s.stack.end_offset("s", s.topic) >= 4000)
    argv = ["lockstep-mirror-reconcile", "gap", "--topic", s.topic, "--brokers", s.stack.brokers["s"]]
    gap = s.programs.call(f"{s.name}-gap", argv + ["--ledger", s.stack.ledger, "--format", "json"])
    check("no gap", gap.code == 0)


# --- the ledger -------------------------------------------------------------------------------------------------------


def standby_away(s):
    """While the standby database is away nothing leaves; when it is back all of it does."""
    _stalls_without(s, "pg_s")


def primary_away(s):
    """While the ledger does not answer nothing leaves; when it does all of it does."""
    _stalls_without(s, "pg_p")


def _stalls_without(s, database):
    s.follow_both()
    s.write(1000)
    s.check_everything_once()
    s.stack.pause(database)
    try:
        s.write(1000)
        s.programs.wait("the producer to say so", lambda: s.says("ledger_stalled"))
        check("nothing left meanwhile", len(s.effects()) == 1000)
    finally:
        s.stack.resume(database)
    s.check_everything_once()
    s.programs.wait("the producer to go on", lambda: s.says("ledger_resumed"))
    s.stop_both()


def synchronous_setting_emptied(s):
    """With synchronous_standby_names emptied and the standby away commits return, but the witness does not vouch: nothing leaves."""
    s.follow_both()
    s.write(1000)
    s.check_everything_once()
    _with_the_setting_emptied(s, lambda: len(s.effects()))
    s.check_everything_once()
    s.stop_both()


def synchronous_setting_emptied_before_a_table(s):
    """The same before a table in the ledger's database, whose rows are seen when they are committed: none is."""
    s.programs.follow(f"{s.name}-producer", s.producer_argv())
    s.programs.follow(f"{s.name}-gate", s.gate_argv(sink=f"table:public.{s.name}"))
    s.write(1000)
    rows = lambda: int(s.stack.sql("pg_p", f"select count(*) from public.{s.name}", check=False) or 0)  # noqa: E731
    s.programs.wait("rows", lambda: rows() == 1000)
    _with_the_setting_emptied(s, rows)
    s.programs.wait("all rows", lambda: rows() == s.written)
    check("every row once, in order", rows_out_of_order(s) == 0)
    s.stop_both()


def _with_the_setting_emptied(s, left):
    s.stack.pause("pg_s")
    try:
        s.stack.sql("pg_p", "alter system set synchronous_standby_names = ''; select pg_reload_conf()")
        s.programs.wait("the setting", lambda: s.stack.sql("pg_p", "show synchronous_standby_names") == "")
        s.write(1000)
        stays("effects", left, 3.0)
    finally:
        s.stack.resume("pg_s")
        s.stack.sql("pg_p", "alter system reset synchronous_standby_names; select pg_reload_conf()")


def sessions_are_ended_under_load(s):
    """Ended sessions (a pooler, an administrator) cost a new connection and no record."""
    s.follow_both()
    ended = 0
    for _ in range(10):
        s.write(1000)
        s.await_effects(max(s.written - 1000, 1))  # Both have started.
        query = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'lockstep-%'"
        ended += int(s.stack.sql("pg_p", query))
    check("sessions were ended", ended >= 10)
    s.check_everything_once()
    s.stop_both()


def sessions_of_a_table_elsewhere_are_ended(s):
    """A table in another database takes every row once and in order, whatever becomes of the gate's sessions and of the server."""
    table = ["--sink-db", s.stack.conninfo("pg_p")]  # The ledger's server, but not said to be.
    s.programs.follow(f"{s.name}-producer", s.producer_argv())
    s.programs.follow(f"{s.name}-gate", s.gate_argv(*table, sink=f"table:public.{s.name}"))
    rows = lambda: int(s.stack.sql("pg_p", f"select count(*) from public.{s.name}", check=False) or 0)  # noqa: E731
    for _ in range(10):
        s.write(1000)
        s.programs.wait("rows", lambda: rows() >= max(s.written - 1000, 1))
        s.stack.sql("pg_p", "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'lockstep-%'")
    s.stack.kill("pg_p")
    s.stack.restart("pg_p")
    s.write(1000)
    s.programs.wait("all rows", lambda: rows() == s.written)
    check("every row once, in order", rows_out_of_order(s) == 0)
    s.stop_both()


def ledger_crashes_under_load(s):
    """The ledger's database crashes under load and recovers in place."""
    _dies_and_returns(s, "pg_p")


def ledger_fails_over_under_a_running_producer(s):
    """The ledger moves to its standby: nothing leaves until a new standby vouches, then all of it; the same back again."""
    s.follow_both()
    s.write(2000)
    s.await_effects(1)
    for lost, other in (("pg_p", "pg_s"), ("pg_s", "pg_p")):
        s.stack.kill(lost)
        s.stack.sql(other, "select pg_promote(true, 60)")
        s.primary = other
        s.write(2000)
        stays("effects without a standby", lambda: len(s.effects()))
        s.stack.rejoin(lost)
        s.check_everything_once()
    s.stop_both()


def wrong_password(s):
    """Wrong credentials are exit 2, and the password is in no log."""
    s.write(1)
    ledger = s.stack.ledger.replace("user=postgres", "user=clerk")
    argv = s.producer_argv("--until-end", ledger=ledger)
    refused = s.programs.call(f"{s.name}-producer", argv, env={"PGPASSWORD": "wrong-7281"}, expect=(COULD_NOT,))
    check("the user is named", "clerk" in refused.log)
    check("the password is not", "wrong-7281" not in refused.log)


# --- two of a kind ----------------------------------------------------------------------------------------------------


def second_producer_fences_the_first(s):
    """A second live process of one name takes over; the first ends with 3."""
    s.follow_both()
    s.write(500)
    s.await_effects(1)
    s.programs.follow(f"{s.name}-second", s.producer_argv())
    s.programs.wait("the second tenure", lambda: s.term() == 2)
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
    s.programs.wait("the second gate", lambda: s.gate_term() == 2)
    s.write(500)  # the first learns of it with its next intent
    s.programs.end(f"{s.name}-gate", expect=(REFUSED,))
    s.programs.wait("all rows", lambda: rows() >= 1000)
    distinct = s.stack.sql("pg_p", f"select count(*), count(distinct (producer, seq)) from public.{s.name}")
    check("every row once", distinct == "1000|1000")
    s.programs.stop(f"{s.name}-second")
    s.programs.stop(f"{s.name}-producer")


def frozen_gate_comes_back(s):
    """A gate that was frozen while its rows were under way wakes up replaced: the statement ends without it, what it still sends is refused, and it ends with 3."""
    table, frozen, second = f"public.{s.name}", f"{s.name}-frozen", f"{s.name}-second"
    s.programs.follow(f"{s.name}-producer", s.producer_argv())
    s.programs.follow(frozen, s.gate_argv(sink=f"table:{table}"))
    rows = lambda: int(s.stack.sql("pg_p", f"select count(*) from {table}", check=False) or 0)  # noqa: E731
    s.write(100)
    s.programs.wait("rows", lambda: rows() == 100)
    slow = f"create function slow_{s.name}() returns trigger language plpgsql as $$ begin perform pg_sleep(2); return null; end $$;"
    s.stack.sql("pg_p", f"{slow} create trigger slow after insert on {table} for each statement execute function slow_{s.name}()")
    s.write(100)
    under_way = "select count(*) from pg_stat_activity where application_name = 'lockstep-reorder' and wait_event = 'PgSleep'"
    s.programs.wait("rows under way", lambda: s.stack.sql("pg_p", under_way) != "0", pause=0.01)
    s.stack.pause(frozen)
    try:
        check("it holds the cursor", rows() == 100)
        s.programs.follow(second, s.gate_argv(sink=f"table:{table}"))
        s.programs.wait("the second gate", lambda: s.gate_term() == 2, seconds=20)
        check("the rows that were under way are there", rows() > 100)
        s.write(100)
        s.programs.wait("the rest to leave", lambda: rows() == s.written)
    finally:
        s.stack.resume(frozen)
    s.write(100)
    s.programs.end(frozen, expect=(REFUSED,))
    s.programs.wait("all rows", lambda: rows() == s.written)
    order = s.stack.sql("pg_p", f"select string_agg(seq::text, ' ' order by emitted) from {table}")
    check("every row once, in order", order == " ".join(map(str, range(1, s.written + 1))))
    s.programs.stop(second)
    s.programs.stop(f"{s.name}-producer")


def frozen_producer_comes_back(s):
    """A producer that was frozen in the middle of its work wakes up replaced: what it still sends is void, and it ends with 3."""
    s.programs.follow(f"{s.name}-gate", s.gate_argv())
    s.write(30_000)
    s.programs.follow(f"{s.name}-frozen", s.producer_argv())
    s.programs.wait("the first records", lambda: s.ledgered() > 0, pause=0.01)
    s.stack.pause(f"{s.name}-frozen")
    try:
        s.programs.follow(f"{s.name}-producer", s.producer_argv())
        s.programs.wait("the second tenure", lambda: s.term() == 2 and s.ledgered() > 0)
    finally:
        s.stack.resume(f"{s.name}-frozen")
    s.programs.end(f"{s.name}-frozen", expect=(REFUSED,))
    s.check_everything_once()
    s.stop_both()


def late_request_of_a_dead_producer(s):
    """Records of a closed tenure that land late are void: the one with the seq that comes next, and one that nobody ever takes."""
    s.programs.follow(f"{s.name}-gate", s.gate_argv())
    s.write(500)
    s.produce()
    s.programs.follow(f"{s.name}-second", s.producer_argv())
    s.programs.wait("the second tenure", lambda: s.term() == 2)
    s.write_to_log(*(f"1/{seq}/{seq}/{s.name}-a" for seq in (501, 5000)))
    check("they landed", s.stack.end_offset("p", s.topic) == 502)
    s.write(500)
    s.check_everything_once()
    s.programs.stop(f"{s.name}-second")
    gate = s.programs.stop(f"{s.name}-gate")
    check("the gate has seen and dropped them", gate.summary["void_dropped"] == 2)


# --- the outside and the source ----------------------------------------------------------------------------------------


def disk_full_for_the_file(s):
    """A full disk stops the gate with a clear error; with space again it goes on without loss or double."""
    s.write(2000)
    s.produce()
    for blocks in (50_000, 50_001, 123_456):  # bytes that fit: a limit on file sizes fails a write as a full disk does
        argv = s.gate_argv("--until-end")
        argv = ["env", "--ignore-signal=XFSZ", "prlimit", f"--fsize={blocks}", BIN / argv[0], *argv[1:]]
        refused = s.programs.call(f"{s.name}-full", argv, expect=(COULD_NOT,))
        check("the file is named", str(s.outside) in refused.log)
        check("something left", 0 < s.outside.stat().st_size <= blocks)
    s.let_out()
    s.check_everything_once()


def consumer_that_dies(s):
    """A consumer of any language gets everything once and in order; one that dies leaves what it did not answer in doubt."""
    consumer = f"exec:'{parts.SOURCE / 'docs' / 'examples' / 'consumer.py'}' '{s.outside}'"
    s.write(3000)
    s.produce()
    refused = s.let_out(sink=consumer.replace("exec:", "exec:head -n 500 | "), expect=(COULD_NOT,))
    check("the command's end is named", "the command ended with" in refused.log)
    refused = s.let_out(sink=consumer, expect=(REFUSED,))
    check("doubt is the operator's", "in-doubt: group" in refused.log)
    done = s.let_out("--in-doubt", "resend", "--old-gate-is-dead", sink=consumer)
    lines = s.outside.read_text().splitlines()
    expected = [f"{s.name}-{number}" for number in range(1, s.written + 1)]
    again = len(lines) - done.summary["emitted"]
    check("everything left, in order", lines[again:] == expected[-done.summary["emitted"] :] and list(dict.fromkeys(lines)) == expected)
    check("only what was in doubt left again", len(lines) - len(expected) <= done.summary["in_doubt"])
    s.outside.unlink()
    s.write(1000)
    s.produce()
    s.let_out(sink=consumer)
    check("and goes on", s.outside.read_text().splitlines() == [f"{s.name}-{number}" for number in range(3001, 4001)])


# What a consumer does after it has read two records, and what the gate says of it. The number: how many it has answered for.
NONSENSE = (
    ("no JSON", 0, "echo nonsense", 'the answer "nonsense" is no JSON object'),
    ("of a record that it never got", 0, """echo '{"done":"1:99"}'""", "is of a record that was not sent"),
    ("another stream's", 0, """echo '{"stream":"other/1","done":"1:0"}'""", "is another stream's"),
    ("out of order", 2, """echo '{"done":"1:1"}'; echo '{"done":"1:0"}'""", "goes back behind 1:1"),
)


def consumer_that_answers_nonsense(s):
    """A consumer that answers garbage, for others, or out of order is stopped by name; what it has answered is done, the rest in doubt."""
    s.write(20)
    s.produce()
    for number, (what, done, answer, named) in enumerate(NONSENSE):
        refused = s.let_out(sink=f"exec:read a; read b; {answer}; cat >/dev/null", group=number, expect=(COULD_NOT,))
        check(f"{what}: named in: {refused.log}", named in refused.log)
        check(f"{what}: what is done", refused.summary["emitted"] == done)
        held = s.let_out(sink="exec:cat", group=number, expect=(REFUSED,))
        check(f"{what}: the rest is in doubt: {held.log}", held.summary["in_doubt"] == s.written - done)


def not_the_outside(s):
    """A gate does not go on with a file that is not the one its cursor speaks of, and says so."""
    s.write(300)
    s.produce()
    s.let_out()
    s.check_everything_once()
    kept = s.outside.with_suffix(".kept")
    shutil.copy(s.outside, kept)
    s.outside.write_text("".join(s.outside.read_text().splitlines(keepends=True)[:100]))
    refused = s.let_out(expect=(REFUSED,))
    check("the reason is named", "not-the-outside" in refused.log)
    shutil.copy(kept, s.outside)
    s.write(100)
    s.produce()
    s.let_out()
    s.check_everything_once()


def stopped_while_it_opens(s):
    """A gate that is stopped while another holds its cursor says that it was interrupted; stopped at once with nothing left, that it is done."""
    s.write(10)
    s.produce()
    s.let_out()
    s.write(10)
    s.produce()
    name, locksmith = f"{s.name}-gate", f"{s.name}-locksmith"

    def sessions(condition):
        return int(s.stack.sql(s.primary, f"select count(*) from pg_stat_activity where {condition}"))

    lock = f"begin; select 1 from lockstep.cursor where group_name = '{s.name}-g' for update; select pg_sleep(600)"
    s.stack.processes.spawn(locksmith, ["psql", "-XAtq", "-d", s.stack.conninfo(s.primary) + f" application_name={locksmith}", "-c", lock])
    s.programs.wait("the lock", lambda: sessions(f"application_name = '{locksmith}' and wait_event = 'PgSleep'"))
    s.programs.spawn(name, s.gate_argv())
    s.programs.wait("the gate to wait for it", lambda: sessions("application_name = 'lockstep-reorder' and wait_event_type = 'Lock'"))
    s.programs.stop(name, expect=(INTERRUPTED,))
    check("nothing left meanwhile", len(s.effects()) == 10)
    s.stack.sql(s.primary, f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = '{locksmith}'")
    s.let_out()
    for again in range(3):
        s.programs.spawn(f"{name}-{again}", s.gate_argv())
        s.programs.wait("it to be in office", lambda: "gate_opened" in s.stack.processes.log_tail(f"{name}-{again}"), pause=0.005)
        s.programs.stop(f"{name}-{again}", expect=(0,))
    s.check_everything_once()


def rows_are_removed_by_their_reader(s):
    """A table in the ledger's database whose reader removes what it has read goes on behind it; a mistyped one is refused."""
    for mode in ("gate", "per-producer"):
        table = f"{s.name}_{mode.replace('-', '_')}"

        def let_out(name, expect=(0,), mode=mode):
            argv = s.gate_argv("--until-end", sink=f"table:public.{name}", group=mode)
            argv[argv.index("--mode") + 1] = mode
            return s.programs.call(f"{s.name}-gate", argv, expect=expect)

        first = s.written + 1
        s.write(300)
        s.produce()
        let_out(table)
        s.stack.sql("pg_p", f"delete from public.{table}")
        s.write(100)
        s.produce()
        refused = let_out(f"{table}_mistyped", expect=(REFUSED,))
        check("the reason is named", "not-the-outside" in refused.log)
        let_out(table)
        left = s.stack.sql("pg_p", f"select min(seq), max(seq), count(*) from public.{table}")
        check(f"{mode}: only what came later, once", left == f"{first + 300}|{s.written}|100")


def source_shrank(s):
    """A source file that ends before what the ledger has of it is refused."""
    s.write(300)
    s.produce()
    s.source.write_text("".join(s.source.read_text().splitlines(keepends=True)[:100]))
    s.produce(expect=(REFUSED,))


def source_changed(s):
    """Another SOURCE for a known producer is refused."""
    s.write(10)
    s.produce()
    other = s.source.with_suffix(".other")
    shutil.copy(s.source, other)
    s.produce(source=f"jsonl:{other}", expect=(REFUSED,))


def cached_sequence(s):
    """A serial column whose sequence has CACHE > 1 hands ids out of order: refused at the start, with the reason."""
    s.stack.sql("pg_p", f"create table {s.name} (id bigserial primary key, value text); alter sequence {s.name}_id_seq cache 10")
    refused = s.produce(source=f"table:public.{s.name}?id=id&value=value", expect=(COULD_NOT, REFUSED))
    check("the reason is named", "cache" in refused.log.lower())


def clock_jumps(s):
    """The programs' clocks jump a day back and half an hour forth: nothing is lost, doubled or stuck."""
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    check("Debian's faketime is installed", library)
    # With the allocator of libc: jemalloc asks for the time while faketime is not yet able to answer.
    preload = f"{library[0]} libc.so.6 libstdc++.so.6"
    clock = s.stack.directory / f"{s.name}.clock"
    clock.write_text("+0\n")
    s.follow_both({"LD_PRELOAD": preload, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    for offset in (0, -86_400, 1800, -86_400, 0):
        clock.write_text(f"{offset:+d}\n")

        def has_jumped():
            s.write(50)
            s.check_everything_once()
            ahead_s = json.loads(s.outside.read_text().splitlines()[-1])["timestamp_ms"] / 1000 - time.time()
            return abs(ahead_s - offset) < 60

        s.programs.wait(f"a record whose time is {offset} s off", has_jumped, pause=0.2)
    s.stop_both()


SHORT = [
    broker_dies_and_returns,
    missing_topic,
    partition_count_changed,
    retention_removed_what_was_not_sent,
    retention_removed_what_was_sent,
    log_shorter_than_the_ledger,
    log_longer_than_the_ledger,
    log_contradicts_the_ledger,
    foreign_records_between_ours,
    record_too_large,
    standby_away,
    primary_away,
    synchronous_setting_emptied,
    synchronous_setting_emptied_before_a_table,
    sessions_are_ended_under_load,
    sessions_of_a_table_elsewhere_are_ended,
    ledger_crashes_under_load,
    ledger_fails_over_under_a_running_producer,
    wrong_password,
    second_producer_fences_the_first,
    second_gate_fences_the_first,
    frozen_gate_comes_back,
    late_request_of_a_dead_producer,
    disk_full_for_the_file,
    consumer_that_dies,
    consumer_that_answers_nonsense,
    stopped_while_it_opens,
    not_the_outside,
    rows_are_removed_by_their_reader,
    source_shrank,
    source_changed,
    cached_sequence,
]
LONG = [broker_away_at_start, frozen_producer_comes_back, clock_jumps, mirror_starts_over]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the long scenarios instead of the short ones")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="only these")
    options = parser.parse_args()
    known = {scenario.__name__: scenario for scenario in SHORT + LONG}
    if unknown := set(options.names) - set(known):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.names] or (LONG if options.long else SHORT)
    failed = []
    with Stack(policy="identity", hba="host all clerk 127.0.0.1/32 scram-sha-256") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        stack.sql("pg_p", "create role clerk login password 'right-1234'; grant lockstep_writer to clerk")
        for scenario in chosen:
            begin = time.monotonic()
            try:
                scenario(Scenario(stack, scenario.__name__))
                print(f"ok in {time.monotonic() - begin:.1f} s: {scenario.__name__}: {scenario.__doc__}", flush=True)
            except (ClaimFailed, ProgramFailed, NotReady, RuntimeError) as error:
                failed.append(scenario.__name__)
                print(f"FAILED: {scenario.__name__}: {scenario.__doc__}\n{error}", flush=True)
            # Whatever a failed scenario left running must not disturb the next.
            mine = [name for name in stack.processes.parts if name.startswith(f"{scenario.__name__}-")]
            stack.processes.kill(mine)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
