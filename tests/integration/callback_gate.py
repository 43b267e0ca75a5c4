#!/usr/bin/python3
"""The example of a gate inside a C++ program (docs/examples/callback_gate.cc) is killed again and again: each record is taken once, in order.

    callback_gate.py [--kills N] [--seed S]     default: 3 kills

It is started again with the same arguments every time: its outside answers what it has. A second one with the same file is refused.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "e2e")]
import evidence  # noqa: E402
from programs import BIN, ProgramFailed, Programs  # noqa: E402
from stack import Stack  # noqa: E402

TOPIC, RECORDS = "orders", 300_000


def play(stack, kills, rng):
    programs = Programs(stack)
    programs.call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
    source, outbox = stack.directory / "source.jsonl", stack.directory / "outbox"
    source.write_text("".join(json.dumps({"value": f"v{i}"}) + "\n" for i in range(1, RECORDS + 1)))
    producer = ["lockstep-producer", "--name", "A", "--topic", TOPIC, "--brokers", stack.brokers["p"], "--ledger", stack.ledger]
    programs.call("producer", producer + ["--source", f"jsonl:{source}", "--until-end"])
    consumer = [BIN / "example_callback_gate", stack.brokers["p"], stack.ledger, f"{TOPIC}/0", "shop", outbox]
    taken = lambda: outbox.read_bytes().count(b"\n") if outbox.exists() else 0  # noqa: E731
    for moment in sorted(rng.randint(1, RECORDS * 9 // 10) for _ in range(kills)):
        programs.follow("consumer", consumer)
        programs.wait(f"{moment} records taken", lambda at=moment: taken() >= at, pause=0.002)
        time.sleep(rng.uniform(0, 0.01))  # the random moment itself
        programs.forget(["consumer"])
        stack.kill("consumer")
        with open(outbox, "ab") as file:
            file.write(b"1:77")  # What a crash may leave of a line.
    opened = lambda: (stack.directory / "log" / "consumer.log").read_text().count(" gate_opened ")  # noqa: E731
    before = opened()
    programs.follow("consumer", consumer)
    programs.wait("it to have the file and the gate", lambda: opened() > before)
    programs.call("second", consumer, expect=(2,))
    programs.wait("everything taken", lambda: taken() >= RECORDS)
    programs.stop("consumer", expect=(0,))
    ledger = [f"{entry.epoch}:{entry.offset} v{entry.seq}" for entry in evidence.ledger_entries(stack.conninfo("pg_p"), TOPIC)]
    lines = outbox.read_text().splitlines()
    print(f"{len(lines)} taken, {kills} kills: {'once, in the order of the ledger' if lines == ledger else 'WRONG'}", flush=True)
    return lines == ledger and len(ledger) == RECORDS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        with Stack(policy="none", topics={TOPIC: 1}) as stack:
            return 0 if play(stack, options.kills, random.Random(options.seed)) else 1
    except ProgramFailed as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
