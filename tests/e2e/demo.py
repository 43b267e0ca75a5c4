#!/usr/bin/python3
"""Loses a site before your eyes, and shows that nothing is lost, doubled or out of order.

Three producers write payment instructions to Kafka at site P and their order to the ledger: two read tables of a
PostgreSQL database that is replicated to site S, one reads a file that both sites have. A gate sends every record
outside, to a file. A mirror copies Kafka from P to S, late. Then every process of P is killed at once. The standby
promotes its database, finds what the mirror lost, writes it again under its old identity, goes on where the gate had
stopped, and takes new instructions in a new epoch. At the end a judge that shares no code with the programs compares
what the business wrote, what the ledger says and what left.

The default runs on in-process brokers (lockstep-mock-sites) and a private PostgreSQL pair; --real on two Kafka
clusters with MirrorMaker 2.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
import checker  # noqa: E402
import evidence  # noqa: E402
import parts  # noqa: E402
from partition import partition_of  # noqa: E402
from processes import NotReady, wait_for  # noqa: E402
from programs import BIN, ProgramFailed, Programs  # noqa: E402
from stack import Stack  # noqa: E402

TOPIC, PARTITIONS, GROUP = "payments", 4, "clearing"
TABLES = {"north": "instructions_north", "south": "instructions_south"}
FILE_PRODUCER, FILE_NAME = "files", "instructions.jsonl"
PRODUCERS = (*TABLES, FILE_PRODUCER)
NEW_ROWS = 1000  # A producer, in the new epoch.


class DemoFailed(Exception):
    """The story did not come to its end."""


class EmbeddedSites:
    """Kafka of both sites and the mirror in one process that takes `kill p` as a command."""

    def __init__(self, stack):
        self._replies = stack.directory / "mock_sites.out"
        # Opened for reading and writing it never ends, so the process lives as long as the stack.
        fifo = stack.directory / "mock_sites.in"
        os.mkfifo(fifo)
        self._commands = os.open(fifo, os.O_RDWR)
        program = [BIN / "lockstep-mock-sites", "--topic", f"{TOPIC}:{PARTITIONS}", "--lag-ms", "500"]
        with open(self._replies, "w") as replies:
            stack.processes.spawn("mock_sites", program, stdin=self._commands, stdout=replies)
        wait_for("mock Kafka sites", self._replies.read_text, 20)
        self.brokers = json.loads(self._replies.read_text())

    def kill_kafka(self):
        os.write(self._commands, b"kill p\n")


class RealSites:
    """Two Kafka brokers and MirrorMaker 2, each a process that SIGKILL ends."""

    def __init__(self, stack):
        self.brokers = stack.brokers

    def kill_kafka(self):
        pass  # With the others.


class Demo:
    def __init__(self, stack, sites, records, tell):
        self.stack, self.sites, self.programs, self._tell = stack, sites, Programs(stack), tell
        self.outside = stack.directory / "outside.jsonl"
        self.site = {site: stack.directory / f"site_{site}" for site in "ps"}
        self.half = records // len(PRODUCERS) // 2  # Instructions a producer before the mirror has begun, and after.
        self.instructed = 0  # The same for each producer.
        self._counted_bytes, self._counted_lines = 0, 0
        self.began = time.monotonic()
        self.facts = {}

    def tell(self, text):
        self._tell(f"{time.monotonic() - self.began:6.1f} s  {text}")

    def run(self):
        self.prepare()
        self.work()
        self.lose_the_site()
        self.take_over()
        self.go_on()
        return self.judge()

    # --- site P at work -------------------------------------------------------------------------------------------

    def prepare(self):
        for directory in self.site.values():
            directory.mkdir()
        self.programs.call("init", ["lockstep-ledger", "init", "--ledger", self.stack.ledger])
        for table in TABLES.values():
            self.stack.sql("pg_p", f"create table {table} (id bigserial primary key, account text, instruction text not null)")
        self.instruct_all("p", self.half)
        self.tell(f"the business has committed {self.half * len(PRODUCERS):,} payment instructions, in two tables and a file")

    def instruct_all(self, site, count):
        """The business writes: `count` instructions a producer, each unique, over 1,000 accounts."""
        first, self.instructed = self.instructed + 1, self.instructed + count
        text = "".join(
            json.dumps({"key": f"account-{i % 1000}", "value": f"{FILE_PRODUCER}: pay {i}.00 to account-{i * 7 % 1000}"}) + "\n"
            for i in range(first, self.instructed + 1)
        )
        inserts = (
            f"insert into {table} (account, instruction) select 'account-' || i % 1000, "
            f"'{name}: pay ' || i || '.00 to account-' || (i * 7) % 1000 from generate_series({first}, {self.instructed}) i;"
            for name, table in TABLES.items()
        )
        self.stack.sql(f"pg_{site}", f"begin; {' '.join(inserts)} commit;")
        # The file is what both sites have; a copy each, as a replicated file system would give.
        for directory in self.site.values():
            with open(directory / FILE_NAME, "a", encoding="utf-8") as file:
                file.write(text)

    def work(self):
        self.start_reorder("p", "gate")
        for name in PRODUCERS:
            self.start_producer("p", name)
        self.tell(f"producers {', '.join(PRODUCERS)} and the gate run at site P")
        self.programs.wait("records sent outside and mirrored", lambda: self.effects() > 0 and self.mirrored() > 0)
        self.tell_progress()
        self.instruct_all("p", self.half)
        self.tell(f"the business commits {self.half * len(PRODUCERS):,} more, and while they are under way …")
        soon = self.half * len(PRODUCERS) + 1000
        self.programs.wait("some of them outside", lambda: self.effects() >= soon, pause=0.01)

    def tell_progress(self):
        self.tell(f"{self.ledgered():>9,} records in the ledger, {self.effects():,} sent outside, {self.mirrored():,} mirrored")

    def lose_the_site(self):
        followers = [*(f"producer_{name}_p" for name in PRODUCERS), "gate_p"]
        self.programs.forget(followers)
        self.killed_at = time.monotonic()
        self.sites.kill_kafka()
        self.stack.kill_site("p", and_also=followers)
        self.before = self.effects()
        self.tell(f"SITE P IS DEAD: SIGKILL for Kafka, mirror, database, producers and gate; {self.before:,} records had left")

    # --- site S takes over ------------------------------------------------------------------------------------------

    def take_over(self):
        argv = ["lockstep-mirror-reconcile", "failover", "--topic", TOPIC, "--brokers", self.sites.brokers["s"]]
        argv += ["--ledger", self.stack.conninfo("pg_s"), "--execute", "--yes", "--format", "json"]
        outcome = self.programs.call("failover", argv, cwd=self.site["s"]).summary
        failed_over_at = time.monotonic()
        self.facts["in_doubt"] = len(outcome["in_doubt"])
        self.facts["reinjected"] = outcome["reinjected"]
        self.tell(f"failover in {outcome['seconds']:.2f} s: database promoted, epoch {outcome['epoch']} begun, the dead are fenced")
        self.tell(f"{outcome['gap_records']:>9,} records are in the ledger and not in S's Kafka: the tail that the mirror lost")
        self.tell(f"{outcome['reinjected']:>9,} re-injected from the replicated tables and the file; {len(outcome['in_doubt'])} in doubt")
        if not outcome["gap_records"]:
            raise DemoFailed("the mirror had lost nothing by then, so there is nothing to show; run it again")
        self.start_reorder("s", "recover")
        self.programs.wait("a new effect", lambda: self.effects() > self.before, pause=0.01)
        now = time.monotonic()
        self.facts["rto_seconds"] = round(now - self.killed_at, 2)
        self.facts["rto_parts"] = {step["step"]: step["seconds"] for step in outcome["steps"] if step["done"]}
        self.facts["rto_parts"] |= {"failover": outcome["seconds"], "consumer": round(now - failed_over_at, 3)}
        self.tell(f"first new effect {self.facts['rto_seconds']} s after the kill")

    def go_on(self):
        self.instruct_all("s", NEW_ROWS)
        self.tell(f"site S takes {NEW_ROWS * len(PRODUCERS):,} new instructions; its producers go on where the dead ones stopped")
        for name in PRODUCERS:
            self.start_producer("s", name)
        total = self.instructed * len(PRODUCERS)
        with contextlib.suppress(NotReady, ProgramFailed):  # The judge says what is missing.
            self.programs.wait("everything outside", lambda: self.effects() >= total, seconds=90)
        for name in PRODUCERS:
            self.programs.stop(f"producer_{name}_s")
        self.programs.stop("gate_s")
        self.tell(f"{self.effects():>9,} records have left in all")

    # --- the judge ----------------------------------------------------------------------------------------------------

    def judge(self):
        sources = self.sources()
        self.facts["records"] = sum(len(rows) for partition in sources for rows in partition.values())
        found = checker.Findings()
        expected = self.instructed * len(PRODUCERS)
        if self.facts["records"] != expected:
            found.add("lost", f"the business wrote {expected} instructions, the promoted database has {self.facts['records']}")
        effects = evidence.effects_by_stream(self.outside)
        lost_by_mirror = 0
        for partition in range(PARTITIONS):
            ledger = evidence.ledger_entries(self.stack.conninfo("pg_s"), TOPIC, partition)
            log = evidence.log_records(self.sites.brokers["s"], TOPIC, partition)
            found += checker.check_ledger(ledger, sources[partition])
            found += checker.check_outside(effects[f"{TOPIC}/{partition}"], ledger, sources[partition])
            found += checker.check_log(log, ledger)
            found += checker.check_truth(log, ledger, epoch=2)
            mirrored = {(r.producer, r.term, r.seq) for r in log if not r.reinjected}
            lost_by_mirror += sum(entry.epoch == 1 and (entry.producer, entry.term, entry.seq) not in mirrored for entry in ledger)
        self.facts["mirror_lost"] = lost_by_mirror
        return found

    def sources(self):
        """What the business wrote, a {producer: rows} for each partition."""
        sources = [{name: [] for name in PRODUCERS} for _ in range(PARTITIONS)]
        for name, table in TABLES.items():
            for line in self.stack.sql("pg_s", f"select id, account, instruction from {table} order by id").splitlines():
                row = checker.SourceRow(*line.split("|"))
                sources[partition_of(row.key, PARTITIONS)][name].append(row)
        with open(self.site["s"] / FILE_NAME, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                line = json.loads(line)
                row = checker.SourceRow(str(number), line["key"], line["value"])
                sources[partition_of(row.key, PARTITIONS)][FILE_PRODUCER].append(row)
        return sources

    # --- the programs -------------------------------------------------------------------------------------------------

    def ledger_of(self, site):
        return self.stack.ledger if site == "p" else self.stack.conninfo("pg_s")

    def start_producer(self, site, name):
        source = f"table:public.{TABLES[name]}?id=id&value=instruction&key=account" if name in TABLES else f"jsonl:{FILE_NAME}"
        argv = ["lockstep-producer", "--name", name, "--topic", TOPIC, "--brokers", self.sites.brokers[site]]
        argv += ["--ledger", self.ledger_of(site), "--source", source]
        self.programs.follow(f"producer_{name}_{site}", argv, cwd=self.site[site])

    def start_reorder(self, site, mode):
        argv = ["lockstep-reorder", "--mode", mode, "--group", GROUP, "--topic", TOPIC, "--brokers", self.sites.brokers[site]]
        argv += ["--ledger", self.ledger_of(site), "--sink", f"jsonl:{self.outside}"]
        self.programs.follow(f"gate_{site}", argv, cwd=self.site[site])

    def ledgered(self):
        return int(self.stack.sql("pg_p", "select coalesce(sum(last_seq), 0) from lockstep.head"))

    def mirrored(self):
        """Records in S's Kafka."""
        argv = ["kcat", "-Q", "-b", self.sites.brokers["s"]]
        for partition in range(PARTITIONS):
            argv += ["-t", f"{TOPIC}:{partition}:-1"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        # Until the mirror has created the topic there is none.
        return sum(int(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()) if done.returncode == 0 else 0

    def effects(self):
        """Lines of the outside file."""
        if self.outside.exists():
            with open(self.outside, "rb") as file:
                file.seek(self._counted_bytes)
                while block := file.read(1 << 20):
                    self._counted_bytes += len(block)
                    self._counted_lines += block.count(b"\n")
        return self._counted_lines


def start(options):
    """The stack and its sites."""
    if options.real:
        stack = Stack(policy="identity", topics={TOPIC: PARTITIONS}, detached=options.keep)
        return stack, RealSites(stack)
    stack = Stack(kafka=False, detached=options.keep)
    try:
        return stack, EmbeddedSites(stack)
    except BaseException:
        stack.down()
        raise


def show(options):
    text_to = sys.stderr if options.format == "json" else sys.stdout
    tell = lambda text: print(text, file=text_to, flush=True)  # noqa: E731
    tell("starting two sites: " + ("Kafka, MirrorMaker 2 and a PostgreSQL pair" if options.real else "in-process Kafka and a PostgreSQL pair"))
    stack, sites = start(options)
    demo = Demo(stack, sites, options.records, tell)
    try:
        found = demo.run()
    except (DemoFailed, ProgramFailed, NotReady, RuntimeError, OSError) as error:
        tell(f"the demo could not finish: {error}")
        return 2
    finally:
        if options.keep:
            tell(f"kept: {stack.directory} (outside.jsonl, log/, site_s/); {stack.conninfo('pg_s')}; Kafka S {sites.brokers['s']}")
            tell(f"to end it: /usr/bin/python3 {parts.SUPPORT.relative_to(parts.SOURCE)}/processes.py {stack.directory} </dev/null")
        else:
            stack.down()
    counts = {kind: found.count[kind] for kind in ("lost", "doubled", "reordered")}
    others = sum(found.count.values()) - sum(counts.values())
    tell(f"\nthe judge: {found}" if found else "")
    tell(f"lost {counts['lost']} · doubled {counts['doubled']} · out of order {counts['reordered']}")
    if options.format == "json":
        print(json.dumps({**demo.facts, **counts, "other_findings": others}))
    return 1 if found else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="two Kafka clusters and MirrorMaker 2 instead of in-process brokers")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: the last line on stdout is the result; the story on stderr")
    parser.add_argument("--records", type=int, default=120_000, help="instructions committed before the loss (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the surviving site, the outside and the logs to look at")
    options = parser.parse_args()
    if options.records < 3000:
        parser.error("--records: at least 3000")
    with contextlib.suppress(KeyboardInterrupt):
        return show(options)
    return 130


if __name__ == "__main__":
    sys.exit(main())
