#!/usr/bin/python3
"""The gate is killed again and again in front of an HTTP server that drops repeats: each record is taken once, in the ledger's order.

    http_sink.py [--kills N] [--seed S]     default: 6 kills, over the three ways that a server may drop repeats

One server looks at the Idempotency-Key alone (--sink-batch 1), one at the lines' positions (--sink-batch 50), one in front of three
producers at key, producer and seq (--mode per-producer). All now and then fail, before they did what was asked and after it. Restarted
gates are told `--in-doubt resend`, as docs/operations/sinks.md has it.
"""

import argparse
import http.server
import json
import random
import socket
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "e2e")]
import checker  # noqa: E402
import evidence  # noqa: E402
from programs import Programs  # noqa: E402
from stack import Stack  # noqa: E402

RECORDS = 4000


class Outside:
    """A server that keeps what it took, in order; its kind is the way in which it drops repeats."""

    def __init__(self, rng):
        self.rng = rng
        self.taken, self.wrong, self.failed, self.repeated = [], [], 0, 0
        outside = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outside.take(self.headers, body)
                if status is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # A killed gate breaks its line.

        self.server = Server(("127.0.0.1", 0), Handler)
        self._lock = threading.Lock()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in?tenant=7"

    def take(self, headers, body):
        """The status to answer with; None: none, the line breaks."""
        with self._lock:
            chance = self.rng.random()
            if chance < 0.005:
                self.failed += 1
                return 500
            key, records = headers["Idempotency-Key"], [json.loads(line) for line in body.splitlines()]
            last = records[-1]
            if key != f"{last['stream']}/{last['producer']}/{last['seq']}" or headers["Lockstep-Last"] != self.names_last(last):
                self.wrong.append(f"{key}: {headers['Lockstep-Last']} with {last}")
            new = self.new(key, records, body)
            self.repeated += len(records) - len(new)
            self.taken += new
            if chance > 0.995:
                self.failed += 1
                return None
            return 200 if new else 409

    def names_last(self, last):
        return f"{last['epoch']}:{last['offset']}"


class ByKey(Outside):
    """A repeat is a key that it knows."""

    def __init__(self, rng):
        super().__init__(rng)
        self._bodies = {}

    def new(self, key, records, body):
        known = key in self._bodies
        if self._bodies.setdefault(key, body) != body:
            self.wrong.append(f"{key}: came with another body")
        return [] if known else records


class ByPosition(Outside):
    """A repeat is a position that it has passed."""

    def __init__(self, rng):
        super().__init__(rng)
        self._last = (0, -1)

    def new(self, key, records, body):
        new = [record for record in records if (record["epoch"], record["offset"]) > self._last]
        self._last = max(self._last, (records[-1]["epoch"], records[-1]["offset"]))
        return new


class ByProducer(Outside):
    """A repeat is a key that it knows, or a producer's seq that it has passed."""

    def __init__(self, rng):
        super().__init__(rng)
        self._keys, self._last = set(), {}

    def names_last(self, last):
        return None

    def new(self, key, records, body):
        if len({record["producer"] for record in records}) > 1:
            self.wrong.append(f"{key}: vouches for another producer's records")
        if key in self._keys:
            return []
        self._keys.add(key)
        new = [record for record in records if record["seq"] > self._last.get(record["producer"], 0)]
        self._last.update((record["producer"], record["seq"]) for record in new)
        return new


class Way:
    def __init__(self, stack, name, flags, outside, rng, mode="gate", producers=1):
        self.stack, self.name, self.rng, self.mode, self.outside = stack, name, rng, mode, outside
        self.programs = Programs(stack)
        self.sources = {
            f"{name}-{letter}": [checker.SourceRow(str(i), f"k{i % 7}", f"{name}-{letter}-{i}") for i in range(1, RECORDS // producers + 1)]
            for letter in "abc"[:producers]
        }
        stack.create_topic("p", name)
        self.common = ["--topic", name, "--brokers", stack.brokers["p"], "--ledger", stack.ledger, "--format", "json"]
        self.gate = ["lockstep-reorder", "--mode", mode, "--group", name, "--sink", outside.url, *flags, *self.common]

    def produce(self):
        """Starts them; the gate follows while they write."""
        for producer, rows in self.sources.items():
            source = self.stack.directory / f"{producer}.jsonl"
            source.write_text("".join(json.dumps({"key": row.key, "value": row.value}) + "\n" for row in rows))
            argv = ["lockstep-producer", "--name", producer, "--source", f"jsonl:{source}", "--until-end", *self.common]
            self.programs.spawn(producer, argv)

    def run(self, kills):
        self.produce()
        again = []
        moments = sorted(self.rng.randint(1, RECORDS * 9 // 10) for _ in range(kills))
        for moment in moments:
            gate = f"{self.name}-gate"
            self.programs.follow(gate, self.gate + again)
            self.programs.wait(f"{moment} records taken", lambda at=moment: len(self.outside.taken) >= at, pause=0.001)
            time.sleep(self.rng.uniform(0, 0.01))  # the random moment itself
            self.programs.forget([gate])
            self.stack.kill(gate)
            again = ["--in-doubt", "resend", "--old-gate-is-dead"]
        for producer in self.sources:
            self.programs.end(producer, expect=(0,))
        end = self.programs.call(f"{self.name}-end", self.gate + again + ["--until-end"])
        return self.judge(end)

    def judge(self, end):
        found = checker.Findings()
        for text in self.outside.wrong:
            found.add("wrong", text)
        effects = [
            checker.Effect(r["epoch"], r["offset"], r["producer"], r["term"], r["seq"], r["at"], r["key"], r["value"]) for r in self.outside.taken
        ]
        ledger = evidence.ledger_entries(self.stack.conninfo("pg_p"), self.name)
        found += checker.check_ledger(ledger, self.sources)
        for ordered in [[name] for name in self.sources] if self.mode == "per-producer" else [list(self.sources)]:
            sources = {name: self.sources[name] for name in ordered}
            found += checker.check_outside([e for e in effects if e.producer in sources], [e for e in ledger if e.producer in sources], sources)
        print(
            f"{self.name}: {len(effects)} taken, {self.outside.repeated} repeats dropped, {self.outside.failed} requests failed, "
            f"{end.summary['in_doubt']} were in doubt at the end: {found}",
            flush=True,
        )
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        kills = [(options.kills + extra) // 3 for extra in (0, 1, 2)]
        found = Way(stack, "keys", [], ByKey(rng), rng).run(kills[0])
        found += Way(stack, "lines", ["--sink-batch", "50"], ByPosition(rng), rng).run(kills[1])
        producers = Way(stack, "producers", ["--sink-batch", "50"], ByProducer(rng), rng, mode="per-producer", producers=3)
        found += producers.run(kills[2])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
