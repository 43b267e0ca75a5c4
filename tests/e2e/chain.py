#!/usr/bin/python3
"""A chain of two hops is lost with its site and goes on at the other: nothing twice, nothing missed, the same order at both hops.

    chain.py [--rounds N] [--seed S] [--records N]

Producers A and B write to `orders`. The first hop, `lockstep-reorder --sink kafka:results`, writes what they write to `results`, where
a foreign producer F writes as well. The second hop sends `results` outside, to a file. While they work the first hop and a producer are
killed and started again (the producer without adoption, so that what it left unledgered is void). By the seed, what the mirror lost of the
first hop's output comes from its ledger rows, or is made again from its input. At a random moment SIGKILL hits all of
site P. Failover for both topics, recover at both hops, new records in the new epoch; then the judge compares what was written with both
ledgers' orders and the outside.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
import checker  # noqa: E402
import evidence  # noqa: E402
import rounds  # noqa: E402
from partition import partition_of  # noqa: E402
from programs import Programs  # noqa: E402
from stack import Stack  # noqa: E402

INPUT, OUTPUT = "orders", "results"
PARTITIONS = {INPUT: 2, OUTPUT: 3}
PRODUCERS = {"A": INPUT, "B": INPUT, "F": OUTPUT}
GROUP, EDGE = "price", "edge"


class Round:
    def __init__(self, seed, records, tell=print):
        self.rng = random.Random(seed)
        self.tell, self.facts = tell, {"without_position": 0}
        self.share = records // len(PRODUCERS)  # Of each producer before the loss.
        self.written = dict.fromkeys(PRODUCERS, 0)
        # Where the first hop's part of the output's gap comes from: its ledger rows, or its input once more.
        self.payload_in_ledger = self.rng.random() < 0.5
        self.facts["payload"] = "ledger" if self.payload_in_ledger else "input"

    def run(self, keep_log=None):
        with Stack(policy="identity", topics=PARTITIONS, mirror=".*", keep_log=keep_log) as self.stack:
            self.programs = Programs(self.stack)
            self.outside = self.stack.directory / "outside.jsonl"
            self.work()
            self.lose_the_site()
            self.take_over()
            return self.judge()

    # --- the programs -------------------------------------------------------------------------------------------------

    def argv(self, program, site, topic):
        ledger = self.stack.ledger if site == "p" else self.stack.conninfo("pg_s")
        return [program, "--topic", topic, "--brokers", self.stack.brokers[site], "--ledger", ledger, "--format", "json"]

    def producer(self, site, name):
        return self.argv("lockstep-producer", site, PRODUCERS[name]) + ["--name", name, "--source", f"jsonl:{self.source(name)}"]

    def first_hop(self, site):
        argv = self.argv("lockstep-reorder", site, INPUT) + ["--group", GROUP, "--mode", "gate" if site == "p" else "recover"]
        return argv + ["--sink", f"kafka:{OUTPUT}", *(["--payload-in-ledger"] if self.payload_in_ledger else [])]

    def second_hop(self, site):
        argv = self.argv("lockstep-reorder", site, OUTPUT) + ["--group", EDGE, "--mode", "gate" if site == "p" else "recover"]
        return argv + ["--sink", f"jsonl:{self.outside}"]

    def follow_all(self, site):
        for name in PRODUCERS:
            self.programs.follow(f"producer_{name}_{site}", self.producer(site, name))
        self.programs.follow(f"first_{site}", self.first_hop(site))
        self.programs.follow(f"second_{site}", self.second_hop(site))

    def source(self, name):
        return self.stack.directory / f"source_{name}.jsonl"

    def write(self, count):
        for name in PRODUCERS:
            with open(self.source(name), "a") as file:
                for number in range(self.written[name] + 1, self.written[name] + count + 1):
                    file.write(json.dumps({"key": f"k{number * 13 % 101}", "value": f"{name}-{number}", "headers": {"n": str(number)}}) + "\n")
            self.written[name] += count

    def effects(self):
        return self.outside.read_bytes().count(b"\n") if self.outside.exists() else 0

    # --- site P -------------------------------------------------------------------------------------------------------

    def work(self):
        self.programs.call("init", ["lockstep-ledger", "init", "--ledger", self.stack.ledger])
        self.write(self.share // 4)
        self.follow_all("p")
        mirrored = lambda: sum(self.stack.end_offset("s", OUTPUT, partition) for partition in range(PARTITIONS[OUTPUT]))  # noqa: E731
        self.programs.wait("effects, and a mirror that has begun", lambda: self.effects() > 0 and mirrored() > 0)
        self.tell(f"both hops run, the mirror has begun: {self.effects()} effects")
        self.write(self.share // 4)
        for victim, argv in (("first_p", self.first_hop("p")), ("producer_A_p", self.producer("p", "A") + ["--no-adopt"])):
            time.sleep(self.rng.uniform(0, 0.15))  # the random moment itself, not a wait for anything
            self.programs.check_followers()
            self.programs.forget([victim])
            self.stack.kill(victim)
            self.programs.follow(victim, argv)
        self.write(self.share - 2 * (self.share // 4))

    def lose_the_site(self):
        moment = int(self.rng.uniform(0.51, 0.8) * 3 * self.share)
        self.programs.wait(f"{moment} effects", lambda: self.effects() >= moment, pause=0.005)
        self.programs.check_followers()
        followers = [*(f"producer_{name}_p" for name in PRODUCERS), "first_p", "second_p"]
        self.programs.forget(followers)
        self.stack.kill_site("p", and_also=followers)
        self.facts["effects_before"] = self.effects()
        self.tell(f"site p is dead; {self.facts['effects_before']} effects had left")

    # --- site S -------------------------------------------------------------------------------------------------------

    def failover(self, topic, *flags, **options):
        argv = ["lockstep-mirror-reconcile", "failover", "--topic", topic, "--brokers", self.stack.brokers["s"]]
        argv += ["--ledger", self.stack.conninfo("pg_s"), "--format", "json"]
        return self.programs.call(f"failover_{topic}", [*argv, *flags], **options)

    def take_over(self):
        early = self.failover(OUTPUT, expect=(0, 1))  # Before its input: a plan that cannot be carried out says so.
        said = early.log + "\n".join(early.lines)
        if early.code == 1 and f"fill the input's gap first: lockstep-mirror-reconcile failover --topic {INPUT}" not in said:
            raise RuntimeError(f"the output before the input is no-go for its remedy, not for: {said}")
        self.facts["input_first"] = early.code == 1
        for topic in PARTITIONS:
            outcome = self.failover(topic, "--execute", "--yes").summary
            self.facts[f"reinjected_{topic}"] = outcome["reinjected"]
            self.tell(f"failover of {topic}: gap {outcome['gap_records']}, re-injected {outcome['reinjected']}, epoch {outcome['epoch']}")
        wrong = [word.replace(GROUP, "mistyped") for word in self.first_hop("s")]
        refused = self.programs.call("mistyped", wrong, expect=(3,))
        if "has no producer 'mistyped@orders/" not in refused.log:
            raise RuntimeError(f"a mistyped group is refused by its name, not with: {refused.log}")
        self.follow_all("s")
        self.write(1000)
        total = sum(self.written.values())
        self.programs.wait("everything outside", lambda: self.effects() >= total, seconds=120)
        for name in PRODUCERS:
            self.programs.stop(f"producer_{name}_s")
        for hop, argv in (("first", self.first_hop("s")), ("second", self.second_hop("s"))):
            self.programs.stop(f"{hop}_s")
            again = self.programs.call(f"{hop}_end", argv + ["--until-end"])
            if again.summary["emitted"] != 0:
                raise RuntimeError(f"{hop} hop: everything was outside, and {again.summary['emitted']} more left")
        prune = ["lockstep-ledger", "prune", "--ledger", self.stack.conninfo("pg_s"), "--topic", INPUT, "--below", "3:0", "--execute", "--yes"]
        refused = self.programs.call("prune", prune, expect=(3,))
        if f"the Kafka sink '{GROUP}@{INPUT}/" not in refused.log:
            raise RuntimeError(f"what the first hop may still need is not pruned: {refused.log}")

    # --- the judge ----------------------------------------------------------------------------------------------------

    def judge(self):
        conninfo = self.stack.conninfo("pg_s")
        found = checker.Findings()
        sources = {topic: [{} for _ in range(count)] for topic, count in PARTITIONS.items()}
        for name, topic in PRODUCERS.items():
            for rows in sources[topic]:
                rows[name] = []
            with open(self.source(name)) as file:
                for number, line in enumerate(file, start=1):
                    line = json.loads(line)
                    row = checker.SourceRow(str(number), line["key"], line["value"])
                    sources[topic][partition_of(row.key, PARTITIONS[topic])][name].append(row)
        left = evidence.effects_by_stream(self.outside)
        # What the first hop had to write: the input's ledger, in its order.
        for partition in range(PARTITIONS[INPUT]):
            ledger = evidence.ledger_entries(conninfo, INPUT, partition)
            found += checker.check_ledger(ledger, sources[INPUT][partition])
            hop = f"{GROUP}@{INPUT}/{partition}"
            for rows in sources[OUTPUT]:
                rows[hop] = []
            for entry in ledger:
                row = sources[INPUT][partition][entry.producer][entry.seq - 1]
                row = checker.SourceRow(f"{entry.epoch}:{entry.offset}", row.key, row.value)
                sources[OUTPUT][partition_of(row.key, PARTITIONS[OUTPUT])][hop].append(row)
        for partition in range(PARTITIONS[OUTPUT]):
            effects = [self.with_position(e, sources[OUTPUT][partition]) for e in left[f"{OUTPUT}/{partition}"]]
            ledger = evidence.ledger_entries(conninfo, OUTPUT, partition)
            found += checker.check_ledger(ledger, sources[OUTPUT][partition])
            found += checker.check_outside(effects, ledger, sources[OUTPUT][partition])
            found += checker.check_log(evidence.log_records(self.stack.brokers["s"], OUTPUT, partition), ledger)
        with open(self.outside) as file:
            for line in file:
                record = json.loads(line)
                if record["headers"] != {"n": record["value"].split("-")[1]}:
                    found.add("wrong", f"headers of {record}")
        if not self.payload_in_ledger and self.facts["without_position"] > 0:
            found.add("wrong", "what is made again from the input has its source position")
        self.facts["effects"] = self.effects()
        self.tell(f"{self.facts['effects']} effects, {self.facts['without_position']} re-injected without their source position: {found}")
        return found

    def with_position(self, effect, sources):
        """The ledger keeps a run's payload without the positions between its first and last: re-injected, the first hop's have none."""
        if effect.at or not effect.producer.startswith(f"{GROUP}@") or effect.epoch != 1:
            return effect
        self.facts["without_position"] += 1
        rows = sources[effect.producer]
        return effect._replace(at=rows[effect.seq - 1].at) if effect.seq <= len(rows) else effect


def drill(options):
    failed, _, _, _ = rounds.play(
        options.rounds, options.seed, "chain-journal.jsonl", lambda seed: ("chain", {}, f"--chain --records {options.records}"),
        lambda seed, tell: Round(seed, options.records, tell),
    )  # fmt: skip
    print(f"{options.rounds - failed} rounds ok, {failed} failed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=120_000, help="records before the loss (default %(default)s)")
    return rounds.main(parser, drill)


if __name__ == "__main__":
    sys.exit(main())
