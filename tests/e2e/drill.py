#!/usr/bin/python3
"""The drill: a real primary site is lost without warning, the standby goes on, and an independent judge looks.

Each round: a fresh stack (two Kafka sites, MirrorMaker 2, synchronous PostgreSQL pair). Two producers read instruction
tables of the replicated database while the business writes to them, one reads a file that both sites have. One gate
sends to a file, one to a table. Some of them crash and come back. At a random moment SIGKILL hits every primary part at
once: broker, mirror, database, producers, gates. Then the runbook as a program (in some rounds killed and started over),
consumers and producers at the standby under their old names, new instructions in the new epoch, and the judge: every
instruction exactly once outside, in the ledger's order.

--break gap|gate|fence|all breaks a promise on purpose and asks the judge again, to show that it sees what it must; such
a drill exits 1.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
import business  # noqa: E402
import checker  # noqa: E402
import evidence  # noqa: E402
import rounds  # noqa: E402
from programs import BIN, Programs  # noqa: E402
from stack import Stack  # noqa: E402

TOPIC = "orders"
PRODUCERS = (*business.TABLES, business.FILE_PRODUCER)
GATES = ("to_file", "to_table")
OUTSIDE_TABLE = "public.sent"
# name: (MirrorMaker 2's policy, order of the re-injection)
POLICIES = {
    "identity": ("identity", "ledger"),
    "default": ("default", "ledger"),
    "none-ledger-order": ("none", "ledger"),
    "none-unordered": ("none", "none"),
}
MIX = ("identity", "default", "default", "none-ledger-order", "none-unordered")
BREAKS = ("gap", "gate", "fence")
FIRST = 300  # Instructions of the file that are there before the load, so that the mirror begins.


class Round:
    """One loss of a site. `tell` is called with what happens, as it happens."""

    def __init__(self, seed, policy, records, breaks=(), tell=print):
        self.rng = random.Random(seed)
        self.policy, (self.mirror, self.order) = policy, POLICIES[policy]
        self.records, self.breaks, self.tell = records, breaks, tell
        self.facts = {}
        self.writers = []
        self.broken = {}  # {break: what the judge found of it}

    def run(self, keep_log=None):
        """Returns the judge's findings; those of the breaks, each undone before the next, are in `broken`."""
        with Stack(policy=self.mirror, topics={TOPIC: 1}, mirror=TOPIC, keep_log=keep_log) as self.stack:
            self.programs = Programs(self.stack)
            self.outside_file = self.stack.directory / "outside.jsonl"
            self.site = {site: self.stack.directory / f"site_{site}" for site in "ps"}
            for directory in self.site.values():
                directory.mkdir()
            self.tell("two sites are up")
            self.before()
            self.catastrophe()
            if "gap" in self.breaks:
                self.broken["gap"] = self.break_gap()
            self.failover()
            self.after()
            found = self.judge()
            for name in ("gate", "fence"):
                if name in self.breaks:
                    self.broken[name] = getattr(self, f"break_{name}")()
            return found

    # --- the primary's last seconds -------------------------------------------------------------------------------

    def before(self):
        self.programs.call("ledger", ["lockstep-ledger", "init", "--ledger", self.stack.ledger])
        self.stack.sql("pg_p", business.SCHEMA)
        # 2/5 of the instructions per table, 1/5 in the file; a third of the file comes in the new epoch.
        self.per_table, self.in_file = self.records * 2 // 5, self.records // 5
        self.append_to_files("p0", FIRST)
        for gate in GATES:
            self.start_gate("p", gate, "gate")
        for producer in PRODUCERS:
            self.start_producer("p", producer)
        # An operator cannot recover a group that no gate ever opened; from here on any moment will do.
        self.programs.wait("both gates open", lambda: self.stack.sql("pg_p", "select count(*) from lockstep.cursor") == "2")
        if self.mirror != "none":
            mirrored = self.stack.mirror_topic(TOPIC)
            self.programs.wait("the mirror begins", lambda: self.stack.end_offset("s", mirrored) > 0)
            self.tell("the mirror has begun")
        if self.breaks:
            self.halt_mirror_and_gates()
        self.append_to_files("p1", self.in_file * 2 // 3 - FIRST)
        seconds = max(1.0, self.records / 50_000)
        self.write("p", seconds, {producer: self.per_table for producer in business.TABLES})
        # Moments are counted in ledgered records, so that a slow machine dies in the middle of its work as well.
        load = self.per_table * 2 + self.in_file * 2 // 3 - FIRST
        self.last_record = FIRST + (load if self.breaks else int(self.rng.uniform(0.0, 0.95) * load))
        victims = [self.rng.choice((*PRODUCERS, *GATES)) for _ in range(0 if self.breaks else self.rng.randint(0, 3))]
        self.crashes = sorted((self.rng.randint(FIRST, self.last_record), victim) for victim in victims)

    def append_to_files(self, label, count):
        """The file is the same at both sites."""
        for directory in self.site.values():
            business.append_to_file(directory / business.FILE_NAME, label, count)

    def write(self, site, seconds, rows):
        for producer, count in rows.items():
            for connection, share in enumerate((count // 3, count - count // 3)):
                label = f"{site}{connection}"
                self.writers.append(
                    business.TableWriter(
                        self.stack.processes, producer, label, self.stack.conninfo(f"pg_{site}"), share, seconds, self.rng
                    )
                )

    def wait_for_record(self, count):
        reached = f"select coalesce(sum(last_seq), 0) >= {count} from lockstep.head"
        # The database looks for itself: a psql for every look would take a core from what is drilled.
        look = f"do $$ begin for i in 1..100 loop exit when ({reached}); perform pg_sleep(0.005); end loop; end $$; {reached}"
        self.programs.wait(f"record {count}", lambda: self.stack.sql("pg_p", look) == "t", seconds=300, pause=0)

    def crash(self, victim):
        """SIGKILL for one program, which its supervisor starts again at once."""
        name = f"gate_{victim}_p" if victim in GATES else f"producer_{victim}_p"
        self.programs.check_followers()
        self.programs.forget([name])
        self.stack.kill(name)
        self.tell(f"{name} killed and started again")
        if victim in GATES:
            self.start_gate("p", victim, "gate")
        else:
            self.start_producer("p", victim)

    def catastrophe(self):
        for record, victim in [*self.crashes, (self.last_record, None)]:
            self.wait_for_record(record)
            time.sleep(self.rng.uniform(0.0, 0.05))  # the random moment itself, not a wait for anything
            if victim:
                self.crash(victim)
        self.killed_at = time.monotonic()
        self.programs.check_followers()
        followers = [*(f"producer_{name}_p" for name in PRODUCERS), *(f"gate_{gate}_p" for gate in GATES)]
        self.programs.forget(followers)
        self.stack.kill_site("p", and_also=followers)
        self.programs.wait("writers see the loss", lambda: all(writer.ended() for writer in self.writers))
        self.acknowledged = {name: [] for name in business.TABLES}
        for writer in self.writers:
            self.acknowledged[writer.producer] += writer.acknowledged()
        told = sum(map(len, self.acknowledged.values()))
        ledgered = int(self.stack.sql("pg_s", "select sum(last_seq) from lockstep.head"))
        mirrored = self.stack.end_offset("s", self.stack.mirror_topic(TOPIC))
        self.facts.update(killed_at_record=self.last_record, ledgered=ledgered, mirrored=mirrored)
        self.tell(
            f"site p killed: {ledgered} records ledgered, {mirrored} mirrored ({mirrored / ledgered:.0%}), "
            f"{told} rows acknowledged as committed"
        )

    # --- the standby takes over -----------------------------------------------------------------------------------

    def failover(self):
        argv = ["lockstep-mirror-reconcile", "failover", "--topic", TOPIC, "--brokers", self.stack.brokers["s"]]
        argv += ["--ledger", self.stack.conninfo("pg_s"), "--promote-with", "pg_promote", "--order", self.order]
        argv += ["--execute", "--yes", "--format", "json"]
        self.facts["failover_kills"] = self.rng.choice((0, 0, 1, 3))
        for _ in range(self.facts["failover_kills"]):
            # The runbook itself is killed at a random moment, and starts over.
            self.programs.spawn("failover_killed", argv, cwd=self.site["s"])
            time.sleep(self.rng.uniform(0.0, 0.6))
            self.stack.kill("failover_killed")
        outcome = self.programs.call("failover", argv, cwd=self.site["s"]).summary
        self.epoch = outcome["epoch"]
        for fact in ("gap_records", "reinjected", "unfilled"):
            self.facts[fact] = outcome[fact]
        self.facts["in_doubt"] = len(outcome["in_doubt"])
        self.facts["failover_seconds"] = outcome["seconds"]
        self.tell(
            f"failover in {outcome['seconds']:.2f} s: gap {outcome['gap_records']}, re-injected {outcome['reinjected']}, "
            f"in doubt {self.facts['in_doubt']}, epoch {outcome['epoch']}"
        )

    def after(self):
        size = self.outside_file.stat().st_size
        for gate in GATES:
            self.start_gate("s", gate, "recover")
        for producer in PRODUCERS:
            self.start_producer("s", producer)
        missing = {}
        for producer, table in business.TABLES.items():
            missing[producer] = self.per_table - int(self.stack.sql("pg_s", f"select count(*) from {table}")) + self.rng.randint(1, 500)
        self.write("s", 1.0, missing)
        business.append_to_file(self.site["s"] / business.FILE_NAME, "s", self.in_file - self.in_file * 2 // 3)
        self.programs.wait("a new effect", lambda: self.outside_file.stat().st_size > size, pause=0.02)
        self.facts["rto_seconds"] = round(time.monotonic() - self.killed_at, 2)
        self.tell(f"first new effect {self.facts['rto_seconds']} s after the kill")
        self.programs.wait("writers done", lambda: all(writer.ended() for writer in self.writers))
        for writer in self.writers:
            if writer.name[-2] == "s":
                self.acknowledged[writer.producer] += writer.acknowledged()
        # Stop what follows, in the middle of it, and let a second run of each bring everything to its end.
        for producer in PRODUCERS:
            self.programs.stop(f"producer_{producer}_s")
            self.programs.call(f"producer_{producer}_end", self.producer_argv("s", producer) + ["--until-end"], cwd=self.site["s"])
        for gate in GATES:
            stopped = self.programs.stop(f"gate_{gate}_s")
            if gate == "to_file":
                for fact in ("parked_peak_bytes", "spilled_bytes"):
                    self.facts[fact] = stopped.summary[fact]
            self.programs.call(f"{gate}_end", self.gate_argv("s", gate, "recover") + ["--until-end"], cwd=self.site["s"])

    # --- the judge ------------------------------------------------------------------------------------------------

    def judge(self):
        self.tell("everything has come to its end; the judge looks")
        primary = self.stack.conninfo("pg_s")
        sources = business.source_rows(primary, self.site["s"])
        ledger = evidence.ledger_entries(primary, TOPIC)
        self.facts["records"] = sum(map(len, sources.values()))
        found = checker.check_acknowledged(self.acknowledged, sources)
        found += checker.check_ledger(ledger, sources)
        outside = {
            "to_file": evidence.file_effects(self.outside_file),
            "to_table": evidence.table_effects(primary, OUTSIDE_TABLE, sources),
        }
        for gate, effects in outside.items():
            one = checker.check_outside(effects, ledger, sources)
            self.tell(f"{gate}: {len(effects)} effects: {one}")
            found += one
        own = evidence.log_records(self.stack.brokers["s"], TOPIC)
        mirrored = self.stack.mirror_topic(TOPIC)
        before = evidence.log_records(self.stack.brokers["s"], mirrored) if mirrored != TOPIC else []
        found += checker.check_log(before + own, ledger)
        found += checker.check_truth(own, ledger, self.epoch)
        return found

    # --- each of these breaks one promise on purpose, and says what the judge found of it ---------------------------

    def halt_mirror_and_gates(self):
        """What follows is neither mirrored nor sent when the site dies: the gap is certain."""
        if self.mirror != "none":
            self.stack.kill("mm2")
        for gate in GATES:
            self.programs.stop(f"gate_{gate}_p")

    def break_gap(self):
        """An operator promotes by hand and lets recover run, and nobody fills the gap."""
        self.stack.promote()
        self.stack.create_topic("s", TOPIC, exist_ok=True)
        argv = ["lockstep-ledger", "begin-epoch", "--ledger", self.stack.conninfo("pg_s"), "--solo", "--reason", "by hand"]
        self.programs.call("begin_epoch_by_hand", argv + ["--execute", "--yes"])
        self.epoch = 2
        for gate in GATES:
            argv = self.gate_argv("s", gate, "recover") + ["--until-end", "--stall-timeout", "3s"]
            self.programs.call(f"{gate}_over_the_gap", argv, cwd=self.site["s"], expect=(0, 1))
        return self.judge()

    def break_gate(self):
        """The cursor is thrown away: another group sends to the same outside, which does not answer what it has."""
        size = self.outside_file.stat().st_size
        argv = self.gate_argv("s", "forgetful", "recover", sink="jsonl:-") + ["--from", "start", "--until-end"]
        argv[0] = BIN / argv[0]
        self.programs.call("forgetful_gate", ["sh", "-c", f'exec "$0" "$@" >>{self.outside_file}', *argv], cwd=self.site["s"])
        found = self.judge()
        os.truncate(self.outside_file, size)
        return found

    def break_fence(self):
        """A run of the old tenure comes into the frozen epoch after the failover."""
        self.stack.sql(
            "pg_s",
            "insert into lockstep.run select (json_populate_record(r, json_build_object('first_seq', r.last_seq + 1000000, "
            "'last_seq', r.last_seq + 1000000, 'offsets', '{[900000000,900000001)}'))).* from lockstep.run r "
            "where epoch = 1 order by first_seq desc limit 1",
        )
        found = self.judge()
        self.stack.sql("pg_s", "delete from lockstep.run where lower(offsets) = 900000000")
        return found

    # --- the programs, exactly as the manual has them ----------------------------------------------------------------

    def ledger_of(self, site):
        return self.stack.ledger if site == "p" else self.stack.conninfo("pg_s")

    def producer_argv(self, site, producer):
        argv = ["lockstep-producer", "--name", producer, "--topic", TOPIC, "--brokers", self.stack.brokers[site]]
        return argv + ["--ledger", self.ledger_of(site), "--source", business.source_spec(producer), "--format", "json"]

    def gate_argv(self, site, gate, mode, sink=None):
        sink = sink or (f"jsonl:{self.outside_file}" if gate == "to_file" else f"table:{OUTSIDE_TABLE}")
        argv = ["lockstep-reorder", "--mode", mode, "--group", gate, "--topic", TOPIC, "--brokers", self.stack.brokers[site]]
        if gate == "to_file":  # With next to no memory: what an unordered re-injection parks goes to disk.
            argv += ["--buffer", "spill", "--buffer-memory", "1MiB", "--spill-dir", self.stack.directory / "spill"]
        return argv + ["--ledger", self.ledger_of(site), "--sink", sink, "--format", "json"]

    def start_producer(self, site, producer):
        self.programs.follow(f"producer_{producer}_{site}", self.producer_argv(site, producer), cwd=self.site[site])

    def start_gate(self, site, gate, mode):
        self.programs.follow(f"gate_{gate}_{site}", self.gate_argv(site, gate, mode), cwd=self.site[site])


def drill(options):
    policies = MIX if options.policy == "mix" else (options.policy,)
    breaks = BREAKS if options.sabotage == "all" else tuple(filter(None, [options.sabotage]))

    def policy_of(seed):
        return policies[seed % len(policies)]

    def kind(seed):
        policy = policy_of(seed)
        return policy, {"policy": policy, "break": options.sabotage}, f"--policy {policy} --records {options.records}"

    failed, played, journal, history = rounds.play(
        options.rounds, options.seed, "drill-journal.jsonl", kind,
        lambda seed, tell: Round(seed, policy_of(seed), options.records, breaks, tell),
    )  # fmt: skip
    broken = [(name, seen) for one in played for name, seen in one.broken.items()]
    for name, seen in broken:
        print(f"{name} broken: {seen}")
    good = [entry for entry in history if entry["ok"] and not entry["break"]]
    bad = [entry for entry in history if not entry["ok"] and not entry["break"]]
    partial = [entry for entry in good if 0 < entry.get("mirrored", 0) < entry["ledgered"]]
    print(
        f"{options.rounds - failed} rounds ok, {failed} failed; on this machine so far {len(good)} ok, {len(bad)} failed, "
        f"{len(partial)} of the good ones with a part of the records mirrored ({journal})"
    )
    return 1 if failed or any(seen for _, seen in broken) else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=("mix", *POLICIES), default="mix", help="the mirror and the order of re-injection (default: mix, all in turn)")
    parser.add_argument("--records", type=int, default=200_000, help="instructions a round (default %(default)s)")
    parser.add_argument("--break", dest="sabotage", choices=(*BREAKS, "all"), help="break a promise on purpose; the judge must see it (exit 1)")
    return rounds.main(parser, drill)


if __name__ == "__main__":
    sys.exit(main())
