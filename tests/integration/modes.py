#!/usr/bin/python3
"""The modes of lockstep-reorder besides gate and recover, on the real stack, and the outside against the ledger.

    modes.py [SCENARIO…]     default: all, one after the other

Each scenario has a topic, producers and a group of its own and says in its docstring what must hold.
"""

import argparse
import json
import os
import pty
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import kafka_admin  # noqa: E402
from processes import NotReady  # noqa: E402
from programs import BIN, ProgramFailed, Programs  # noqa: E402
from stack import Stack, free_ports  # noqa: E402


NO, REFUSED = 1, 3


class ClaimFailed(Exception):
    pass


def check(claim, holds, facts=""):
    if not holds:
        raise ClaimFailed(f"{claim}: {facts}")


class Scenario:
    """One topic with jsonl-fed producers and gates of one group, named after the scenario."""

    def __init__(self, stack, name):
        self.stack, self.name, self.programs = stack, name, Programs(stack)
        self.site, self.written = "p", {}

    def create_topic(self, partitions=1):
        self.stack.create_topic("p", self.name, partitions)

    @property
    def database(self):
        return f"pg_{self.site}"

    @property
    def ledger(self):
        return self.stack.ledger if self.site == "p" else self.stack.conninfo("pg_s")

    def here(self):
        return ["--topic", self.name, "--brokers", self.stack.brokers[self.site], "--ledger", self.ledger, "--format", "json"]

    def lose_the_site(self, and_also, *flags):
        """Site p is gone at once, with the programs named; the standby takes over, and what it lacks is put back unordered."""
        self.programs.forget(and_also)
        self.stack.kill_site("p", and_also=and_also)
        self.site = "s"
        argv = ["lockstep-mirror-reconcile", "failover", *self.here(), "--promote-with", "pg_promote", "--order", "none"]
        return self.programs.call(f"{self.name}-failover", [*argv, *flags, "--execute", "--yes"]).summary

    def source(self, producer):
        return self.stack.directory / f"{self.name}.{producer}.jsonl"

    def write(self, producer, count, partitions=1, pad=""):
        first = self.written.get(producer, 0) + 1
        with open(self.source(producer), "a") as file:
            for number in range(first, first + count):
                line = {"key": f"{producer}{number}", "value": f"{producer}{number}{pad}", "partition": number % partitions}
                file.write(json.dumps(line) + "\n")
        self.written[producer] = first + count - 1

    def producer(self, name):
        return ["lockstep-producer", "--name", f"{self.name}-{name}", *self.here(), "--source", f"jsonl:{self.source(name)}"]

    def produce(self, name):
        """Runs a producer over all that is there."""
        return self.programs.call(f"{self.name}-producer", [*self.producer(name), "--until-end"])

    def reorder(self, mode, sink, *flags):
        return ["lockstep-reorder", "--mode", mode, "--group", self.name, *self.here(), "--sink", sink, *flags]

    def log_says(self, name, event):
        return event in (self.stack.directory / "log" / f"{name}.log").read_text()

    def order(self, partition=0):
        """The ledger's order: [(epoch, offset, producer, seq)]."""
        argv = ["lockstep-ledger", "order", "--stream", f"{self.name}/{partition}", "--ledger", self.ledger, "--format", "json"]
        rows = map(json.loads, self.programs.call(f"{self.name}-order", argv).lines)
        return [(row["epoch"], row["offset"], row["producer"], row["seq"]) for row in rows]

    def cursor(self, partition=0):
        """(intent, done) as (epoch, offset) or None."""
        query = (
            "select intent_epoch, intent_offset, done_epoch, done_offset from lockstep.cursor join lockstep.stream using (stream) "
            f"where topic = '{self.name}' and partition = {partition}"
        )
        fields = [int(field) if field else None for field in self.stack.sql(self.database, query).split("|")]
        pairs = fields if len(fields) == 4 else [None] * 4
        return tuple((e, o) if e is not None else None for e, o in (pairs[:2], pairs[2:]))


def records(lines):
    """What a jsonl sink wrote: [(epoch, offset, producer, seq)] and the records themselves; a torn last line is none."""
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [(row["epoch"], row["offset"], row["producer"], row["seq"]) for row in rows], rows


# --- replay -----------------------------------------------------------------------------------------------------------


def on_a_terminal(argv):
    """What a person sees of a program that ends by itself."""
    ours, its = pty.openpty()
    program = subprocess.Popen([BIN / argv[0], *map(str, argv[1:])], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=its)
    os.close(its)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # The terminal's other end is closed.
        pass
    os.close(ours)
    check("it ends with 0", program.wait(timeout=60) == 0, seen[-2000:])
    return seen.decode(errors="replace")


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
    seen = on_a_terminal(s.reorder("replay", "null", "--until-end"))
    check("on a terminal a bar says how far of how much it is", re.search(rf"reorder  \[[#.]+\]  \d+ %  \d+/{len(order)}\b", seen), seen)
    refused = s.programs.call(f"{s.name}-refused", s.reorder("replay", f"jsonl:{s.stack.directory}/x"), expect=(2,))
    check("a file that is the outside is refused with a sentence", "the file is the outside" in refused.log, refused.log)


# --- many streams in one process ---------------------------------------------------------------------------------------


def hole_in_one(s):
    """A follower of two streams ends when retention has taken what one of them has to send, and names it."""
    s.create_topic(partitions=2)
    s.write("a", 200, partitions=2)
    s.produce("a")
    kafka_admin.delete_records(s.stack.brokers["p"], s.name, 50, partition=0)
    out = s.stack.directory / f"{s.name}.jsonl"
    ended = s.programs.call(f"{s.name}-gate", s.reorder("gate", f"jsonl:{out}"), expect=(NO,), seconds=60)
    check("the stream is named when it ends", f"stream_ended stream={s.name}/0 exit=1" in ended.log and "retention" in ended.log, ended.log)
    given, rows = records(out.read_text().splitlines())
    check("of the hole's stream nothing has left", all(row["stream"] == f"{s.name}/1" for row in rows), rows[:1])
    check("of the other a beginning of its order, once", given == s.order(1)[: len(given)], (len(given), len(s.order(1))))


# --- consumer group ---------------------------------------------------------------------------------------------------

PARTITIONS = 6


class Member:
    """One process of a group with a table as the outside; what it holds is what its log says."""

    def __init__(self, s, name):
        self.s, self.name = s, f"{s.name}-{name}"

    def start(self, mode, *flags):
        by_group = ["--assignment", "group", "-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500"]
        self.s.programs.follow(self.name, self.s.reorder(mode, f"table:public.{self.s.name}", *by_group, *flags))
        return self

    @property
    def log(self):
        return (self.s.stack.directory / "log" / f"{self.name}.log").read_text()

    def held(self):
        streams = set()
        for line in self.log.splitlines():
            for event, change in (("stream_assigned", streams.add), ("stream_revoked", streams.discard), ("stream_lost", streams.discard)):
                if f" {event} " in line:
                    change(line.split("stream=")[1].split()[0])
        return streams

    def await_streams(self, count):
        self.s.programs.wait(f"{self.name} to hold {count} streams", lambda: len(self.held()) == count)

    def kill(self):
        self.s.programs.forget([self.name])
        self.s.stack.processes.kill([self.name])


def sent(s):
    return int(s.stack.sql(s.database, f"select count(*) from {s.name}", check=False) or 0)  # The first gate makes the table.


def gate_term(s):
    query = "select coalesce(max(c.term), 0) from lockstep.cursor c join lockstep.stream using (stream) where topic = "
    return int(s.stack.sql(s.database, f"{query}'{s.name}'"))


def sent_order(s, partition):
    """What the table has of a stream, in the order in which it left."""
    query = f"select epoch, \"offset\", producer, seq from {s.name} where stream = '{s.name}/{partition}' order by emitted"
    rows = (row.split("|") for row in s.stack.sql(s.database, query).splitlines())
    return [(int(epoch), int(offset), producer, int(seq)) for epoch, offset, producer, seq in rows]


def slow_down(s, ms_a_row):
    """A slow outside, so that what happens next happens in the middle of it."""
    body = f"begin perform pg_sleep((select count(*) from fresh) * {ms_a_row} / 1000.0); return null; end"
    trigger = f"after insert on {s.name} referencing new table as fresh for each statement execute function slow_{s.name}()"
    s.stack.sql(
        s.database,
        f"create or replace function slow_{s.name}() returns trigger language plpgsql as $${body}$$; create or replace trigger slow {trigger}",
    )


def shared(s):
    """Six streams go through a site's loss; of the three processes that share their recovery one dies in its middle, one hangs, one stops."""
    s.create_topic(PARTITIONS)

    def produce(count):
        for producer in "abc":
            s.write(producer, count, PARTITIONS)
            s.produce(producer)

    produce(600)
    first = [Member(s, name).start("gate") for name in ("p1", "p2")]
    for member in first:
        member.await_streams(PARTITIONS // 2)
    s.programs.wait("the first to be sent", lambda: sent(s) == 1800)
    slow_down(s, 1)
    produce(60_000)
    s.programs.wait("more to be sent", lambda: sent(s) > 1800)
    s.lose_the_site([member.name for member in first])
    total = 181_800
    check("the site was lost before all was sent", 0 < sent(s) < total, sent(s))

    one, two, three = members = [Member(s, name).start("recover") for name in ("s1", "s2", "s3")]
    for member in members:
        member.await_streams(PARTITIONS // 3)
    check("an orderly handover fences nobody", not any("fenced" in member.log for member in members), one.log)
    before = {partition: len(sent_order(s, partition)) for partition in range(PARTITIONS)}
    s.programs.wait("the recovery to be under way in every stream", lambda: all(len(sent_order(s, partition)) > count for partition, count in before.items()))
    one.kill()
    check("it was killed in the middle of the recovery", sent(s) < total, sent(s))
    for member in (two, three):
        member.await_streams(PARTITIONS // 2)

    # A process that hangs for longer than its session loses what it has, and is fenced when it goes on.
    s.stack.pause(two.name)
    three.await_streams(PARTITIONS)
    s.stack.resume(two.name)
    two.await_streams(PARTITIONS // 2)
    check("all of this happened during the recovery", sent(s) < total, sent(s))
    two_ended = s.programs.stop(two.name)
    check("a process that stops says what it sent", two_ended.summary["emitted"] > 0, two_ended.summary)
    three.await_streams(PARTITIONS)

    slow_down(s, 0)
    produce(1000)
    total += 3000
    s.programs.wait("everything to be sent", lambda: sent(s) >= total)
    check("with all sent it stops with 0", s.programs.stop(three.name).code == 0)
    for partition in range(PARTITIONS):
        order = s.order(partition)
        check(f"stream {partition} left once, in the ledger's order", sent_order(s, partition) == order, len(order))
    check("nothing else left", sent(s) == total, sent(s))


def shared_from_start(s):
    """--from start is for streams that nothing was sent of: what a rebalance or a dead process hands over goes on where it was."""
    s.create_topic(PARTITIONS)
    for producer in "ab":
        s.write(producer, 600, PARTITIONS)
        s.produce(producer)
    one = Member(s, "one").start("gate", "--from", "start")
    s.programs.wait("the first to be sent", lambda: sent(s) == 1200)
    slow_down(s, 1)  # A batch, which a rebalance waits for, takes up to 10 s.
    for producer in "ab":
        s.write(producer, 60_000, PARTITIONS)
        s.produce(producer)
    two = Member(s, "two").start("gate", "--from", "start")
    for member in (one, two):
        member.await_streams(PARTITIONS // 2)
    handed_over = two.held()
    one.kill()
    two.await_streams(PARTITIONS)
    check("all of this happened in the middle of the work", sent(s) < 121_200, sent(s))
    slow_down(s, 0)
    s.programs.wait("everything to be sent", lambda: sent(s) >= 121_200)
    check("with all sent it stops with 0", s.programs.stop(two.name).code == 0)
    check("streams were handed over by a rebalance and by a death", len(handed_over) == PARTITIONS // 2, handed_over)
    for partition in range(PARTITIONS):
        order = s.order(partition)
        check(f"stream {partition} left once, in the ledger's order", sent_order(s, partition) == order, len(order))


def shared_name(s):
    """A process outside the Kafka group that has the group's --group: twice fenced, the member names stream and cure; all leaves once."""
    s.create_topic()
    member = Member(s, "member").start("gate")

    def more():
        s.write("a", 100)
        s.produce("a")

    def fenced(times):
        return member.log.count(" stream_reopens ") == times

    def stranger(number):
        name = f"{s.name}-stranger-{number}"
        before = gate_term(s)
        s.programs.spawn(name, s.reorder("gate", f"table:public.{s.name}"))  # It will end by itself.
        s.programs.wait(f"{name} to be in office", lambda: gate_term(s) > before)
        more()
        s.programs.wait("the member to be fenced", lambda: fenced(number))
        return name

    more()
    s.programs.wait("the first to be sent", lambda: sent(s) == 100)
    first = stranger(1)
    check("one fence may be of an engine on its way out", "group_name_taken" not in member.log, member.log)
    before = gate_term(s)
    s.programs.wait("the member to open its stream again", lambda: gate_term(s) > before)
    more()
    refused = s.programs.end(first, expect=(REFUSED,))
    check("the stranger is told", "fenced" in refused.log, refused.log)
    second = stranger(2)
    line = next((line for line in member.log.splitlines() if " group_name_taken " in line), "")
    for part in (" error ", f"stream={s.name}/0", f"group={s.name}", "fences=2", "--assignment all"):
        check("stream, group, count and cure are named", part in line, (part, line))
    s.programs.wait("everything to be sent", lambda: sent(s) == s.written["a"])
    s.programs.stop(second)
    s.programs.stop(member.name)
    check("once, in the ledger's order", sent_order(s, 0) == s.order(0))


# --- memory of many streams -------------------------------------------------------------------------------------------

STREAMS, MIB, INTERRUPTED = 4, 1 << 20, 130

# Takes a record, and then its time.
SLOW_CONSUMER = """
import json, sys, time
for line in sys.stdin:
    time.sleep(float(sys.argv[1]))
    row = json.loads(line)
    print(json.dumps({"done": f"{row['epoch']}:{row['offset']}"}), flush=True)
"""


def metric(s, port, name):
    """The sum over its streams."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))


def peak_memory(s, name):
    pid = s.stack.processes.parts[name]["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def slow_outside(s):
    """Four streams in front of slow consumers: what is parked stays within the one budget of all, and the process within 150 MiB of it."""
    s.create_topic(STREAMS)
    budget = 32 * MIB
    for producer in "abababab":  # Put back one after the other, three quarters of a's have to wait.
        s.write(producer, 5000, STREAMS, "x" * 8000)
        s.produce(producer)
    s.lose_the_site([])
    script = s.stack.directory / "slow.py"
    script.write_text(SLOW_CONSUMER)
    for buffer in ("spill", "bounded"):
        (port,), name = free_ports(1), f"{s.name}-{buffer}"
        flags = ["--buffer", buffer, "--buffer-memory", str(budget), "--spill-dir", s.stack.directory / "spill"]
        argv = s.reorder("recover", f"exec:{sys.executable} {script} 0.002", *flags, "--from", "start", "--metrics", f"127.0.0.1:{port}")
        argv[argv.index("--group") + 1] = name
        s.programs.follow(name, argv)
        s.programs.wait("it to be at work", lambda: s.log_says(name, "gate_opened"))  # The server is up before.

        def under_way():
            waits, left = metric(s, port, "lockstep_parked_bytes"), metric(s, port, "lockstep_emitted_records_total")
            return waits > 2 * budget and left > 400

        s.programs.wait("more to be parked than the budget holds, and the consumers to be at work", under_way)
        peak = peak_memory(s, name)
        check(f"{buffer}: memory of all streams together", peak <= budget + 150 * MIB, peak)
        stopped = s.programs.stop(name, expect=(INTERRUPTED,))
        left = [stream["why"] for stream in stopped.summary["streams"]]
        check(f"{buffer}: a stop says that work is left", left == ["stopped with work left"] * STREAMS, stopped.summary)


# --- a partition that nobody has written to ---------------------------------------------------------------------------


def late_partition(s):
    """A gate follows all partitions of its topic: what is written to one later comes out, and until then nothing is waited for."""
    s.create_topic(3)
    (port,) = free_ports(1)

    def produce_to(partition, producer, count):
        lines = (json.dumps({"value": f"{producer}{number}"}) + "\n" for number in range(count))
        s.source(producer).write_text("".join(lines))
        s.programs.call(f"{s.name}-{producer}", [*s.producer(producer), "--partition", str(partition), "--until-end"])
        s.programs.wait(f"what {producer} wrote to leave", lambda: len(sent_order(s, partition)) == count)

    def is_ready():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).status == 200
        except OSError:  # Not yet there, or 503.
            return False

    gate = f"{s.name}-gate"
    s.source("a").touch()
    s.programs.call(f"{s.name}-empty", [*s.producer("a"), "--partition", "0", "--until-end"])  # Opens, and writes nothing.
    s.programs.follow(gate, s.reorder("gate", f"table:public.{s.name}", "--metrics", f"127.0.0.1:{port}"))
    s.programs.wait("all its gates to be open", is_ready)
    produce_to(0, "a", 500)
    waits = metric(s, port, "lockstep_waiting_seconds")
    check("nothing is waited for where nobody has written", waits == 0, waits)
    produce_to(1, "b", 300)
    check("with all sent it stops with 0", s.programs.stop(gate).code == 0)
    for partition in range(2):
        check(f"stream {partition} left once, in the ledger's order", sent_order(s, partition) == s.order(partition))


# --- per producer -----------------------------------------------------------------------------------------------------


def seqs_done(s):
    query = "select coalesce(sum(done_seq), 0) from lockstep.cursor_seq join lockstep.stream using (stream) where topic = "
    return int(s.stack.sql(s.database, f"{query}'{s.name}'"))


def in_doubt_lines(s, name):
    """The fields of each `in_doubt` line of a program's log."""
    log = (s.stack.directory / "log" / f"{name}.log").read_text()
    lines = [line.split(" in_doubt ", 1)[1] for line in log.splitlines() if " in_doubt " in line]
    return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]


def in_doubt_more(s, name):
    """How many records in doubt a program's log counts without naming them."""
    log = (s.stack.directory / "log" / f"{name}.log").read_text()
    return sum(int(line.split(" records=")[1].split()[0]) for line in log.splitlines() if " in_doubt_more " in line)


def by_producer(given):
    """{producer: its seqs in the order in which they left}"""
    seqs = {}
    for _, _, producer, seq in given:
        seqs.setdefault(producer, []).append(seq)
    return seqs


def per_producer(s):
    """Through a killed gate and a lost site each producer's records leave once and in its order, whatever the log's."""
    s.create_topic()
    for producer, count in (("a", 6000), ("b", 4000)):
        s.write(producer, count)
        s.produce(producer)
    s.programs.spawn(f"{s.name}-gate", s.reorder("per-producer", "jsonl:-"))
    s.programs.wait("part of it to be done", lambda: seqs_done(s) > 0)
    s.stack.processes.kill([f"{s.name}-gate"])
    first, _ = records(s.programs.outcome(f"{s.name}-gate").lines)
    for producer in "ab":
        s.write(producer, 3000)
        s.produce(producer)
    s.lose_the_site([])
    for producer in "ab":
        s.write(producer, 500)
        s.produce(producer)

    refused = s.programs.call(f"{s.name}-kind", s.reorder("recover", "null", "--until-end"), expect=(3,))
    check("a group keeps one kind of cursor", "a seq per producer" in refused.log, refused.log)
    argv = s.reorder("per-producer", "jsonl:-", "--until-end", "--in-doubt", "resend", "--old-gate-is-dead")
    second, rows = records(s.programs.call(f"{s.name}-standby", argv).lines)
    doubtful = {(row["producer"], row["seq"]) for row in rows if row.get("in_doubt")}
    before, after = by_producer(first), by_producer(second)
    for name, total in s.written.items():
        producer = f"{s.name}-{name}"
        sent, rest = before.get(producer, []), after[producer]
        check("it left in its order, from its first on", sent == list(range(1, len(sent) + 1)), producer)
        check("the rest left in its order, to its last", rest == list(range(rest[0], total + 1)), (producer, rest[0], rest[-1], total))
        check("nothing was missed", rest[0] <= len(sent) + 1, (producer, len(sent), rest[0]))
        repeats = {(producer, seq) for seq in range(rest[0], len(sent) + 1)}
        check("nothing left twice but what was said to be in doubt", repeats <= doubtful, (producer, len(sent), rest[0]))
    check("the rest was not all there is", len(second) < sum(s.written.values()), len(second))


CONSUMER = """
import json, os, sys
outside = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for line in sys.stdin:
    record = json.loads(line)
    os.write(outside, line.encode())
    print(json.dumps({"done": f"{record['epoch']}:{record['offset']}"}), flush=True)
"""


def seq_marks(s, group):
    """{producer: (intent, done)} of a group."""
    argv = ["lockstep-ledger", "cursor", "list", "--group", group, "--topic", s.name, "--ledger", s.ledger, "--format", "json"]
    (row,) = map(json.loads, s.programs.call(f"{s.name}-cursors", argv).lines)
    return {mark["producer"]: (mark["intent"], mark["done"]) for mark in row["producers"]}


def per_producer_kills(s):
    """Killed again and again, at both sites: a table has each producer's records once in its order; a consumer behind a pipe
    besides only what was listed as in doubt (a list of over 1,000 counts the rest)."""
    s.create_topic()
    script, outside = s.stack.directory / "consumer.py", s.stack.directory / "consumed.jsonl"
    script.write_text(CONSUMER)
    sinks = {"table": f"table:public.{s.name}", "exec": f"exec:{sys.executable} {script} {outside}"}
    kills, listed, number = 2, set(), iter(range(1000))

    def more():
        for producer in "ab":
            s.write(producer, 20_000)
            s.produce(producer)

    def argv(sink, *flags):
        return ["lockstep-reorder", "--mode", "per-producer", "--group", sink, *s.here(), "--sink", sinks[sink], *flags]

    def done_so_far(sink):
        return sum(done for _, done in seq_marks(s, sink).values())

    def resolve(sink):
        """What is in doubt is held and listed, all of it and nothing else; then it is sent again."""
        marks = seq_marks(s, sink)
        doubtful = {(producer, seq) for producer, (intent, done) in marks.items() for seq in range(done + 1, intent + 1)}
        if not doubtful:
            return []
        check("a table is never in doubt", sink == "exec", marks)
        held_name = f"{s.name}-held-{next(number)}"
        s.programs.call(held_name, argv(sink, "--until-end"), expect=(3,))
        named = {(field["producer"], int(field["seq"])) for field in in_doubt_lines(s, held_name)}
        more = in_doubt_more(s, held_name)
        check("what is held is listed, and what a long list leaves out is counted", named <= doubtful and len(named) + more == len(doubtful), (len(named), more, len(doubtful)))
        check("only a long list leaves something out", more == 0 or len(named) == 1000, (len(named), more))
        listed.update(doubtful if more else named)
        return ["--in-doubt", "resend", "--old-gate-is-dead"]

    def kill_some():
        for _ in range(kills):
            for sink in sinks:
                flags = resolve(sink)
                before = done_so_far(sink)
                name = f"{s.name}-{sink}-{next(number)}"
                s.programs.spawn(name, argv(sink, *flags))
                s.programs.wait(f"{name} to send", lambda: done_so_far(sink) > before or s.programs.ended(name), pause=0.01)
                check("it did not end by itself", not s.programs.ended(name), s.stack.processes.log_tail(name))
                s.stack.processes.kill([name])

    more()
    for sink in sinks:  # The cursors are there.
        s.programs.call(f"{s.name}-{sink}-first", argv(sink, "--until-end"))
    more()
    kill_some()
    more()
    s.lose_the_site([])
    more()
    kill_some()
    for sink in sinks:
        flags = resolve(sink)
        s.programs.call(f"{s.name}-{sink}-last", argv(sink, "--until-end", *flags))
    expected = {f"{s.name}-{name}": list(range(1, total + 1)) for name, total in s.written.items()}
    check("the table has each producer's records once, in its order", by_producer(sent_order(s, 0)) == expected)
    rows = [json.loads(line) for line in outside.read_text().splitlines() if line.endswith("}")]
    seen = {}
    for row in rows:
        seqs = seen.setdefault(row["producer"], [])
        if seqs and row["seq"] <= seqs[-1]:
            identity = row["producer"], row["seq"]
            check("what left twice was listed, or counted, as in doubt, and is marked", identity in listed and row.get("in_doubt"), row)
            continue
        seqs.append(row["seq"])
    check("the consumer got each producer's records in its order, none missed", seen == expected)


# Those of one line share a stack; the last of each may lose its site.
STACKS = ((replay, shared), (hole_in_one, late_partition, shared_name, shared_from_start, per_producer), (slow_outside,), (per_producer_kills,))


def run(scenarios):
    """Runs them on one stack; returns the names of those that failed."""
    failed = []
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        for scenario in scenarios:
            name, begin = scenario.__name__, time.monotonic()
            try:
                scenario(Scenario(stack, name))
                print(f"ok in {time.monotonic() - begin:.1f} s: {name}: {scenario.__doc__}", flush=True)
            except (ClaimFailed, ProgramFailed, NotReady, RuntimeError) as error:
                failed.append(name)
                print(f"FAILED: {name}: {scenario.__doc__}\n{error}", flush=True)
            stack.processes.kill([part for part in stack.processes.parts if part.startswith(f"{name}-")])
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENARIO")
    options = parser.parse_args()
    known = {scenario.__name__: scenario for scenarios in STACKS for scenario in scenarios}
    if unknown := set(options.names) - set(known):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    for scenarios in STACKS:
        if chosen := [scenario for scenario in scenarios if scenario.__name__ in (options.names or known)]:
            failed += run(chosen)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
