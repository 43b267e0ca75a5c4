#!/usr/bin/python3
"""What an operator does at 3 a.m. while both sites live, on the real stack: the commands that messages name, run as they stand.

dead producer   it died between Kafka and the ledger, and the gate waits. `lockstep-ledger why` names the record, whose it
                is, since when, and the command; the command ends it.
truncated log   Kafka lost the end of the primary's own log. The producer refuses and names the cure, a failover in place:
                what was lost is put back, and the outside sees everything once.
stray producer  a producer of another ledger wrote into the topic, and the gate waits for its record. `lockstep-ledger why`
                names it and the cure, a failover in place; behind it the record counts no more, ours leave, once.
"""

import calendar
import json
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from processes import wait_for  # noqa: E402
from programs import Programs  # noqa: E402
from stack import Stack  # noqa: E402

COULD_NOT, REFUSED, INTERRUPTED = 2, 3, 130


class Night:
    """One topic of one partition, sources and the outside in files."""

    def __init__(self, stack, topic, config=None):
        self.stack, self.topic, self.programs = stack, topic, Programs(stack)
        self.outside = stack.directory / f"{topic}.outside.jsonl"
        stack.create_topic("p", topic, config=config)

    def call(self, *argv, **options):
        return self.programs.call("-".join([self.topic, *argv[:2]]), [*argv, "--format", "json"], **options)

    def source(self, producer):
        return self.stack.directory / f"{producer}.jsonl"

    def write(self, producer, first, last, padding=""):
        with open(self.source(producer), "a") as file:
            for number in range(first, last + 1):
                file.write(json.dumps({"value": f"{producer}{number}{padding}"}) + "\n")

    def at_p(self):
        return ["--topic", self.topic, "--brokers", self.stack.brokers["p"], "--ledger", self.stack.ledger]

    def producer(self, name):
        return ["lockstep-producer", "--name", name, *self.at_p(), "--source", f"jsonl:{self.source(name)}"]

    def gate(self, mode="gate"):
        return ["lockstep-reorder", "--mode", mode, "--group", "pay", *self.at_p(), "--sink", f"jsonl:{self.outside}"]

    def why(self):
        return self.call("lockstep-ledger", "why", "--stream", f"{self.topic}/0", *self.at_p()[2:]).summary

    def effects(self):
        if not self.outside.exists():
            return []
        return [json.loads(line)["value"] for line in self.outside.read_text().splitlines(keepends=True) if line.endswith("\n")]


def die_between_kafka_and_ledger(night):
    """Kafka has record 4 of `dead`; its append waits for a row lock when the producer is killed, and never commits."""
    stack, programs = night.stack, night.programs

    def count(condition):
        return stack.sql("pg_p", f"select count(*) from pg_stat_activity where {condition}")

    lock = "begin; select 1 from lockstep.head for update; select pg_sleep(600)"
    stack.processes.spawn("locksmith", ["psql", "-XAtq", "-d", stack.conninfo("pg_p") + " application_name=locksmith", "-c", lock])
    wait_for("the row lock", lambda: count("application_name = 'locksmith' and wait_event = 'PgSleep'") == "1", 30)
    night.write("dead", 4, 4)
    programs.wait("record 4 in Kafka", lambda: stack.end_offset("p", night.topic) == 4)
    programs.wait("its append to wait", lambda: count("application_name = 'lockstep-producer' and wait_event_type = 'Lock'") == "1")
    programs.forget(["dead"])
    stack.processes.kill(["dead"])
    for name in ("lockstep-producer", "locksmith"):
        stack.sql("pg_p", f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = '{name}'")


def dead_producer(stack):
    night = Night(stack, "held")
    programs = night.programs
    programs.follow("gate", night.gate())
    night.write("dead", 1, 3)
    programs.follow("dead", night.producer("dead"))
    programs.wait("the first effects", lambda: len(night.effects()) == 3)
    assert night.why()["holder"] is None, "nothing holds up the gate yet"

    die_between_kafka_and_ledger(night)
    night.write("alive", 1, 5)
    night.call(*night.producer("alive"), "--until-end")
    answer = night.why()
    holder = answer["holder"]
    assert holder and (holder["offset"], holder["producer"], holder["term"], holder["seq"]) == (3, "dead", 1, 4), answer
    age = time.time() - calendar.timegm(time.strptime(holder["since"], "%Y-%m-%dT%H:%M:%SZ"))
    assert -2 < age < 300, holder
    assert (answer["group"], answer["done"], answer["next"]) == ("pay", "1:2", "1:4"), answer
    assert night.effects() == ["dead1", "dead2", "dead3"], "the gate lets nothing by"

    command = re.search(r"lockstep-ledger seal \S+", answer["command"]).group(0)
    night.call(*command.split(), "--ledger", stack.ledger)
    programs.wait("the others' effects", lambda: len(night.effects()) == 8)
    assert night.effects()[3:] == [f"alive{number}" for number in range(1, 6)], "the void record never leaves"
    assert night.why()["holder"] is None
    programs.stop("gate")


def lose_the_last_segment(night):
    """As after an unclean election: the log ends earlier than the ledger says."""
    stack = night.stack
    segments = sorted((stack.directory / "kafka_p" / f"{night.topic}-0").glob("*.log"))
    assert len(segments) > 1, "there must be something left"
    stack.kill("kafka_p")
    for suffix in (".log", ".index", ".timeindex", ".snapshot"):
        segments[-1].with_suffix(suffix).unlink(missing_ok=True)
    stack.restart("kafka_p")


def truncated_log(stack):
    night = Night(stack, "truncated", config={"segment.bytes": 1048576})
    night.write("a", 1, 1500, padding="x" * 1000)
    night.call(*night.producer("a"), "--until-end")
    night.call(*night.gate(), "--until-end")
    lose_the_last_segment(night)
    left = stack.end_offset("p", night.topic)
    assert 0 < left < 1500, left

    night.write("a", 1501, 1600)
    refused = night.call(*night.producer("a"), "--until-end", expect=(REFUSED,))
    assert "inconsistent-offsets" in refused.log and "--in-place" in refused.log, refused.log
    site = ["--topic", night.topic, "--brokers", stack.brokers["p"], "--ledger", stack.conninfo("pg_p")]
    failover = ["lockstep-mirror-reconcile", "failover", *site, "--standby-ledger", stack.conninfo("pg_s")]
    night.call(*failover, "--execute", "--yes", expect=(REFUSED,))
    plan = night.call(*failover, "--in-place").summary
    assert plan["go"] and plan["gap_records"] == 1500 - left, plan
    done = night.call(*failover, "--in-place", "--execute", "--yes").summary
    assert done["go"] and done["reinjected"] == 1500 - left, done
    assert night.call(*failover, "--in-place", "--execute", "--yes").summary["epoch"] == done["epoch"], "again is harmless"
    assert not night.call("lockstep-ledger", "status", "--ledger", stack.ledger).summary["solo"]
    night.call("lockstep-mirror-reconcile", "verify", *site)

    night.call(*night.producer("a"), "--until-end")
    night.call(*night.gate("recover"), "--until-end")
    assert [value.rstrip("x") for value in night.effects()] == [f"a{number}" for number in range(1, 1601)], "everything once, in order"


def stray_producer(stack):
    night = Night(stack, "strayed")
    programs = night.programs
    night.write("c", 1, 3)
    night.call(*night.producer("c"), "--until-end")
    programs.follow("waits", night.gate())
    programs.wait("the first effects", lambda: len(night.effects()) == 3)
    stray = ["kcat", "-P", "-b", stack.brokers["p"], "-t", night.topic, "-p", "0", "-H", "lockstep=9/5/5/stranger"]
    subprocess.run(stray, input=b"not ours", check=True, timeout=60)
    night.write("c", 4, 6)
    night.call(*night.producer("c"), "--until-end")
    answer = night.why()
    holder = answer["holder"]
    assert (holder["offset"], holder["producer"], holder["term"], holder["seq"]) == (3, "stranger", 9, 5), answer
    refused = night.call("lockstep-ledger", "seal", "stranger", "--ledger", stack.ledger, expect=(COULD_NOT,))
    assert "no producer stranger" in refused.log, refused.log
    assert night.effects() == ["c1", "c2", "c3"], "the gate lets nothing by"
    programs.stop("waits", expect=(INTERRUPTED,))

    assert "lockstep-mirror-reconcile failover --in-place" in answer["command"], answer
    site = ["--topic", night.topic, "--brokers", stack.brokers["p"], "--ledger", stack.conninfo("pg_p")]
    failover = ["lockstep-mirror-reconcile", "failover", "--in-place", *site, "--standby-ledger", stack.conninfo("pg_s")]
    done = night.call(*failover, "--execute", "--yes").summary
    assert done["go"] and done["gap_records"] == 0, done
    night.write("c", 7, 8)
    night.call(*night.producer("c"), "--until-end")
    night.call(*night.gate("recover"), "--until-end")
    assert night.effects() == [f"c{number}" for number in range(1, 9)], "ours, once, in order"


# Those of one line share a stack; the last of each may begin an epoch.
STACKS = ((dead_producer, truncated_log), (stray_producer,))


def main():
    for scenarios in STACKS:
        with Stack(policy="none") as stack:
            Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
            for scenario in scenarios:
                scenario(stack)
                print(f"ok: {scenario.__name__}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
