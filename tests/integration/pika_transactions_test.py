#!/usr/bin/python3
"""lockstep-producer --no-ledger --transactional on a real broker: killed at any moment, a consumer that reads what is committed
sees every event once and in order, with the checkpoint that the topic has at that moment, and a second process fences the first.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parents[1] / "docs" / "examples")]
from pika_applier import Redis  # noqa: E402
from programs import Programs  # noqa: E402
from stack import Stack  # noqa: E402

TOPIC, CHECKPOINTS = "pika", "checkpoints"
KILLS = 100 if os.environ.get("LOCKSTEP_SOAK") else 8


class Test:
    def __init__(self, stack):
        self.stack, self.programs = stack, Programs(stack)
        stack.create_topic("p", CHECKPOINTS, config={"cleanup.policy": "compact"})
        self.programs.follow("pika", ["lockstep-pika-master"])
        stdout = stack.directory / "pika.stdout"
        self.programs.wait("the Pika", lambda: stdout.read_text().endswith("}\n"))
        self.pika = f"127.0.0.1:{json.loads(stdout.read_text())['port']}"
        self.client, self.written = Redis(self.pika), 0

    def argv(self):
        argv = ["lockstep-producer", "--name", "A", "--topic", TOPIC, "--brokers", self.stack.brokers["p"], "--no-ledger"]
        argv += ["--checkpoint-topic", CHECKPOINTS, "--checkpoint-file", self.stack.directory / "checkpoint.json"]
        return argv + ["--transactional", "--source", f"pika://{self.pika}"]

    def write(self, count):
        self.client.call([("SET", f"key-{self.written + i}", "v" * 50) for i in range(count)])
        self.written += count

    def records(self, topic, isolation="read_committed"):
        kcat = ["kcat", "-C", "-q", "-b", self.stack.brokers["p"], "-t", topic, "-p", "0", "-e", "-f", "%s\n"]
        done = subprocess.run([*kcat, "-X", f"isolation.level={isolation}"], capture_output=True, check=True, timeout=60)
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def check(self, complete):
        """What is committed: each key once, in order, none left out; and the last checkpoint is that of the last event."""
        checkpoints = self.records(CHECKPOINTS)
        events = self.records(TOPIC)
        keys = [event["key"] for event in events]
        if keys != [f"key-{i}" for i in range(len(keys))]:
            first = next(i for i, key in enumerate(keys) if key != f"key-{i}")
            raise RuntimeError(f"{len(keys)} events; number {first} is {keys[first]}")
        if complete and len(keys) != self.written:
            raise RuntimeError(f"{len(keys)} events of {self.written}")
        positions = [(event["binlog"]["filenum"], event["binlog"]["offset"]) for event in events]
        last = (checkpoints[-1]["filenum"], checkpoints[-1]["offset"]) if checkpoints else None
        # More may have been committed between the two looks, but never an event behind whose checkpoint there is none.
        if last is not None and last not in positions or complete and last != positions[-1]:
            raise RuntimeError(f"the checkpoint is at {last}, the last event at {positions[-1:]}")
        return len(keys)

    def await_streaming(self, name):
        log = self.stack.directory / "log" / f"{name}.log"
        self.programs.wait(f"{name} streams", lambda: "pika_streaming" in log.read_text())

    def killed_at_any_moment(self, rng):
        for number in range(KILLS):
            name = f"killed_{number}"
            self.programs.spawn(name, self.argv())
            if number % 4:  # Else it may die while it starts.
                self.await_streaming(name)
            for _ in range(rng.randint(1, 40)):
                self.write(100)
                time.sleep(0.01)  # So that the kill falls into the stream.
            self.stack.kill(name)
            self.check(complete=False)
        outcome = self.programs.call("to_the_end", [*self.argv(), "--until-end"])
        if "resumes_by=topic" not in outcome.log:
            raise RuntimeError(f"not by the topic:\n{outcome.log}")
        total = self.check(complete=True)
        physical = len(self.records(TOPIC, "read_uncommitted"))
        print(f"{KILLS} kills: {total} events once; {physical - total} records of aborted transactions")
        if physical == total:
            raise RuntimeError("no kill fell into a transaction")

    def a_second_process_fences_the_first(self, round):
        first, second = f"first_{round}", f"second_{round}"
        for name in (first, second):
            self.programs.spawn(name, self.argv())
            self.await_streaming(name)
        self.write(1000)  # The first has something to commit, too.
        self.programs.wait("the first ends", lambda: self.programs.ended(first))
        outcome = self.programs.outcome(first)
        if outcome.code != 3 or "fenced: another process named 'A'" not in outcome.log:
            raise RuntimeError(f"exit {outcome.code}:\n{outcome.log}")
        self.programs.stop(second)
        self.check(complete=True)

    def the_broker_restarts(self):
        self.programs.spawn("through", self.argv())
        self.write(500)
        self.stack.kill("kafka_p")
        self.write(500)
        self.stack.restart("kafka_p")
        self.write(500)
        self.programs.wait("all is committed", lambda: len(self.records(TOPIC)) == self.written)
        self.programs.stop("through")
        self.check(complete=True)
        print("a restart of the broker was waited for")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    seed = parser.parse_args().seed
    print(f"seed {seed}")
    with Stack(policy="none", topics={TOPIC: 1}) as stack:
        test = Test(stack)
        test.killed_at_any_moment(random.Random(seed))
        for round in range(5):  # The fence is seen in one call or another.
            test.a_second_process_fences_the_first(round)
        print("the second process fenced the first")
        test.the_broker_restarts()
        test.programs.stop("pika", expect=(0,))
    return 0


if __name__ == "__main__":
    sys.exit(main())
