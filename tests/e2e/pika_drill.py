#!/usr/bin/python3
"""The drill with a Pika as the source: a site with its Pika is lost, and the standby goes on from the Pika that replicated it.

Each round: a fresh stack (two Kafka sites, MirrorMaker 2, synchronous PostgreSQL pair), a Pika at each site (stand-ins that
keep a binlog), the standby's a replica of the other, a little late. Clients write to the primary's Pika, one producer takes its
binlog to Kafka, a gate sends it outside. At a random moment SIGKILL hits all of the primary at once. Then failover, with what
the mirror lost from the ledger (--payload ledger), from the producer's WAL (wal) or from the standby's Pika (standby); a replica
that lost a tail with its master is given it from Kafka (pika_applier.py --to-pika); the producer goes on from it under its old
name, clients write there, and the judge looks: every command of the Pikas exactly once outside, in order.

What clients were told and the Pikas lost before Lockstep had it is no promise of Lockstep's; it is counted (lost_in_pika).
"""

import argparse
import base64
import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parents[1] / "docs" / "examples")]
import checker  # noqa: E402
import evidence  # noqa: E402
import parts  # noqa: E402
import rounds  # noqa: E402
from pika_applier import Redis  # noqa: E402
from programs import Programs  # noqa: E402
from stack import Stack  # noqa: E402

TOPIC, NAME, GATE, DATABASE = "pika", "K", "to_file", "db0"
PAYLOADS = ("ledger", "wal", "standby")
FILE_SIZE = 1_000_000
BLOCK, FRAGMENT_HEADER, ITEM_HEADER = 65536, 8, 34


def command(label, number):
    """The number-th command of a client: unique, and of every length."""
    value = f"{label}/{number}/" + "0123456789" * (number % 23)
    key = f"k{number % 97}"
    return [["SET", key, value], ["HSET", f"h{key}", "f", value], ["RPUSH", f"l{key}", value]][number % 3]


class Binlog:
    """Where commands lie in a Pika's binlog, by the description of its format; apart from the programs."""

    def __init__(self):
        self.filenum, self.offset, self.rows = 0, 0, []

    @property
    def end(self):
        return f"{self.filenum}:{self.offset}"

    def append(self, words):
        content = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        if self.offset > FILE_SIZE:
            self.filenum, self.offset = self.filenum + 1, 0
        left = ITEM_HEADER + len(content)
        while left > 0:
            room = BLOCK - self.offset % BLOCK
            if room < FRAGMENT_HEADER:
                self.offset += room
                room = BLOCK
            piece = min(left, room - FRAGMENT_HEADER)
            self.offset += FRAGMENT_HEADER + piece
            left -= piece
        kind = {"SET": "string", "HSET": "hash", "RPUSH": "list"}[words[0]]
        self.rows.append(checker.SourceRow(self.end, f"{DATABASE}:{kind}:{words[1]}", json.dumps(words)))


class Client(threading.Thread):
    """Writes to a Pika, command by command in batches, until it is away or `count` are acknowledged."""

    def __init__(self, address, label, count, seconds, rng):
        super().__init__(daemon=True)
        self.sent, self.acknowledged = [], 0
        self._redis, self._label, self._count = Redis(address), label, count
        self._pause, self._sizes = seconds * 100 / count, [rng.choice((1, 10, 100, 300)) for _ in range(count)]

    def run(self):
        with contextlib.suppress(OSError):
            for size in self._sizes:
                batch = [command(self._label, len(self.sent) + i) for i in range(min(size, self._count - len(self.sent)))]
                if not batch:
                    return
                self.sent += batch
                self._redis.call(batch)
                self.acknowledged = len(self.sent)
                time.sleep(self._pause)  # The load is spread over time.


class Round:
    """One loss of a site. `tell` is called with what happens, as it happens."""

    def __init__(self, seed, payload, records, tell=print):
        self.rng = random.Random(seed)
        self.payload, self.records, self.tell = payload, records, tell
        self.facts = {}

    def run(self, keep_log=None):
        with Stack(policy="identity", topics={TOPIC: 1}, mirror=TOPIC, keep_log=keep_log) as self.stack:
            self.programs = Programs(self.stack)
            self.outside_file = self.stack.directory / "outside.jsonl"
            self.pika = {}
            self.start_pika("p", [])
            lag = self.facts["replica_lag_ms"] = 0 if self.payload == "standby" else self.rng.choice((0, 20, 300))
            self.start_pika("s", ["--replica-of", self.pika["p"], "--lag-ms", lag])
            self.binlog = Binlog()
            self.before()
            self.catastrophe()
            if not self.failover():
                return checker.Findings()  # It refused, as it must.
            self.heal()
            self.after()
            return self.judge()

    # --- parts ----------------------------------------------------------------------------------------------------

    def start_pika(self, site, argv):
        self.programs.follow(f"pika_{site}", ["lockstep-pika-master", "--binlog-file-size", FILE_SIZE, *argv])
        stdout = self.stack.directory / f"pika_{site}.stdout"
        self.programs.wait(f"the Pika at {site}", lambda: stdout.read_text().endswith("}\n"))
        self.pika[site] = f"127.0.0.1:{json.loads(stdout.read_text())['port']}"

    def producer_argv(self, site):
        ledger = self.stack.ledger if site == "p" else self.stack.conninfo("pg_s")
        argv = ["lockstep-producer", "--name", NAME, "--topic", TOPIC, "--brokers", self.stack.brokers[site], "--ledger", ledger]
        argv += ["--source", f"pika://{self.pika[site]}?db={DATABASE}", "--source-id", self.pika["p"], "--format", "json"]
        if self.payload == "ledger":
            argv += ["--payload-in-ledger"]
        elif self.payload == "wal" and site == "p":
            argv += ["--wal", self.stack.directory / "wal"]
        return argv

    def gate_argv(self, site, mode):
        ledger = self.stack.ledger if site == "p" else self.stack.conninfo("pg_s")
        argv = ["lockstep-reorder", "--mode", mode, "--group", GATE, "--topic", TOPIC, "--brokers", self.stack.brokers[site]]
        return argv + ["--ledger", ledger, "--sink", f"jsonl:{self.outside_file}", "--format", "json"]

    # --- a site is lost -------------------------------------------------------------------------------------------

    def before(self):
        self.programs.call("ledger", ["lockstep-ledger", "init", "--ledger", self.stack.ledger])
        self.programs.follow("gate_p", self.gate_argv("p", "gate"))
        self.programs.follow("producer_p", self.producer_argv("p"))
        self.programs.wait("the gate opens", lambda: self.stack.sql("pg_p", "select count(*) from lockstep.cursor") == "1")
        first = Client(self.pika["p"], "first", 200, 0, self.rng)
        first.run()
        self.written = first.sent
        self.programs.wait("the mirror begins", lambda: self.stack.end_offset("s", self.stack.mirror_topic(TOPIC)) > 0)
        self.tell("two sites are up, each with its Pika")
        self.client = Client(self.pika["p"], "p", self.records, max(1.0, self.records / 20_000), self.rng)
        self.client.start()

    def catastrophe(self):
        moment = len(self.written) + int(self.rng.uniform(0.0, 0.95) * self.records)
        reached = f"select coalesce(sum(last_seq), 0) >= {moment} from lockstep.head"
        look = f"do $$ begin for i in 1..100 loop exit when ({reached}); perform pg_sleep(0.005); end loop; end $$; {reached}"
        self.programs.wait(f"record {moment}", lambda: self.stack.sql("pg_p", look) == "t", seconds=300, pause=0)
        time.sleep(self.rng.uniform(0.0, 0.05))  # the random moment itself, not a wait for anything
        followers = ["producer_p", "gate_p", "pika_p"]
        self.programs.check_followers()
        self.programs.forget(followers)
        self.stack.kill_site("p", and_also=followers)
        self.client.join(60)
        self.written = self.written + self.client.sent
        for words in self.written:
            self.binlog.append(words)
        ledgered = int(self.stack.sql("pg_s", "select sum(last_seq) from lockstep.head"))
        mirrored = self.stack.end_offset("s", self.stack.mirror_topic(TOPIC))
        self.programs.wait("the replica has seen it", lambda: Redis(self.pika["s"]).call([("LOCKSTEP.FOLLOWS",)]) == [0])
        # Both have a beginning of what was written: one command is one entry is one record.
        replicated = [row.at for row in self.binlog.rows].index(self.replica_end()) + 1
        self.facts.update(ledgered=ledgered, mirrored=mirrored, replicated=replicated)
        survives = max(ledgered, replicated)
        del self.binlog.rows[survives:]
        self.binlog.filenum, self.binlog.offset = map(int, self.binlog.rows[-1].at.split(":"))
        acknowledged = len(self.written) - len(self.client.sent) + self.client.acknowledged
        self.facts["lost_in_pika"] = max(0, acknowledged - survives)
        self.tell(f"site p killed: {ledgered} ledgered, {mirrored} mirrored, {replicated} at the standby's Pika, {acknowledged} acknowledged by its master")

    def replica_end(self):
        return Redis(self.pika["s"]).call([("LOCKSTEP.END",)])[0].decode()

    def failover(self):
        """False: the standby's Pika lacks what nothing else has, and the runbook refuses and says so."""
        payload = {"ledger": "ledger", "wal": f"wal:{self.stack.directory / 'wal'}", "standby": f"pika://{self.pika['s']}?db={DATABASE}"}
        argv = ["lockstep-mirror-reconcile", "failover", "--topic", TOPIC, "--brokers", self.stack.brokers["s"]]
        argv += ["--ledger", self.stack.conninfo("pg_s"), "--promote-with", "pg_promote", "--payload", payload[self.payload]]
        argv += ["--execute", "--yes", "--format", "json"]
        if self.payload == "standby" and self.facts["replicated"] < self.facts["ledgered"]:
            refused = self.programs.call("failover", argv, expect=(3,))
            if "source behind ledger" not in refused.log + "\n".join(refused.lines):
                raise RuntimeError(f"the failover does not say what the standby's Pika lacks:\n{refused.log}\n{refused.lines}")
            self.tell("the failover names what the standby's Pika lacks, and changes nothing")
            return False
        outcome = self.programs.call("failover", argv).summary
        self.epoch = outcome["epoch"]
        for fact in ("gap_records", "reinjected", "unfilled"):
            self.facts[fact] = outcome[fact]
        self.tell(f"failover in {outcome['seconds']:.2f} s: gap {outcome['gap_records']}, re-injected {outcome['reinjected']} from {self.payload}")
        return True

    def heal(self):
        """The replica lacks a tail that Kafka has."""
        if self.facts["replicated"] >= self.facts["ledgered"]:
            return
        applier = [sys.executable, parts.SOURCE / "docs" / "examples" / "pika_applier.py", "--to-pika", self.pika["s"], "--behind", self.replica_end()]
        records = ["kcat", "-C", "-q", "-b", self.stack.brokers["s"], "-t", TOPIC, "-p", "0", "-e", "-f", "%s\n"]
        events = subprocess.run(records, capture_output=True, check=True, timeout=120).stdout
        done = subprocess.run(applier, input=events, capture_output=True, check=True, timeout=120)
        self.facts["healed"] = json.loads(done.stdout)["applied"]
        self.tell(f"the standby's Pika was given {self.facts['healed']} commands that it had lost with its master")

    def after(self):
        if self.replica_end() != self.binlog.end:
            raise RuntimeError(f"the standby's Pika ends at {self.replica_end()}, not at {self.binlog.end}")
        self.programs.follow("gate_s", self.gate_argv("s", "recover"))
        self.programs.follow("producer_s", self.producer_argv("s"))
        client = Client(self.pika["s"], "s", 2000, 0.5, self.rng)
        client.run()
        for words in client.sent:
            self.binlog.append(words)
        for name in ("producer_s", "gate_s"):
            self.programs.stop(name)
        self.programs.call("producer_end", self.producer_argv("s") + ["--until-end"])
        self.programs.call("gate_end", self.gate_argv("s", "recover") + ["--until-end"])

    # --- the judge ------------------------------------------------------------------------------------------------

    def judge(self):
        sources = {NAME: self.binlog.rows}
        self.facts["records"] = len(self.binlog.rows)
        ledger = evidence.ledger_entries(self.stack.conninfo("pg_s"), TOPIC)
        effects, ids = [], set()
        found = checker.Findings()
        for effect in evidence.file_effects(self.outside_file):
            event = json.loads(effect.value)
            if event["event_id"] in ids or event["source_id"] != self.pika["p"]:
                found.add("wrong", f"{effect.entry}: event {event['event_id']} of {event['source_id']}")
            ids.add(event["event_id"])
            words = json.dumps([base64.b64decode(word).decode() for word in event["args_b64"]])
            at = f"{event['binlog']['filenum']}:{event['binlog']['offset']}"
            if effect.at != at and (effect.at or self.payload != "ledger"):  # Ledger rows keep the first and the last position.
                found.add("wrong", f"{effect.entry}: its position is {effect.at}, the event's {at}")
            effects.append(effect._replace(at=at, value=words))
        found += checker.check_ledger(ledger, sources)
        found += checker.check_outside(effects, ledger, sources)
        log = evidence.log_records(self.stack.brokers["s"], TOPIC)
        found += checker.check_log(log, ledger)
        found += checker.check_truth(log, ledger, self.epoch)
        faults = self.programs.stop("pika_s", expect=(0,)).log
        self.tell(f"{len(effects)} effects: {found}{faults and ' ' + faults}")
        return found


def drill(options):
    def payload_of(seed):
        return PAYLOADS[seed % len(PAYLOADS)] if options.payload == "mix" else options.payload

    def kind(seed):
        payload = payload_of(seed)
        return f"pika payload from {payload}", {"payload": payload}, f"--pika --payload {payload} --records {options.records}"

    failed, _, journal, history = rounds.play(
        options.rounds, options.seed, "pika-drill-journal.jsonl", kind, lambda seed, tell: Round(seed, payload_of(seed), options.records, tell)
    )
    good = sum(entry["ok"] for entry in history)
    print(f"{options.rounds - failed} rounds ok, {failed} failed; on this machine so far {good} ok, {len(history) - good} failed ({journal})")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev drill --pika", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payload", choices=("mix", *PAYLOADS), default="mix", help="where the lost tail comes from (default: all in turn)")
    parser.add_argument("--records", type=int, default=20_000, help="commands a round (default %(default)s)")
    return rounds.main(parser, drill)


if __name__ == "__main__":
    sys.exit(main())
