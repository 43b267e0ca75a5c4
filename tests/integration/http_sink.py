#!/usr/bin/python3
"""The gate is killed again and again in front of an HTTP server that drops repeats: each record is taken once, in the ledger's order.

    http_sink.py [--kills N] [--seed S]     default: 5 kills, over both ways that a server may drop repeats

One server looks at the Idempotency-Key alone (--sink-batch 1), one at the lines' positions (--sink-batch 50). Both now and then fail,
before they did what was asked and after it. Restarted gates are told `--in-doubt resend`, as docs/operations/sinks.md has it.
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
    """A server that keeps what it took, in order. `by_key`: a repeat is a key that it knows, else a position that it has passed."""

    def __init__(self, by_key, rng):
        self.by_key, self.rng = by_key, rng
        self.taken, self.wrong, self.failed, self.repeated = [], [], 0, 0
        self._keys, self._last, self._bodies = set(), (0, -1), {}
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
            key = headers["Idempotency-Key"]
            records = [json.loads(line) for line in body.splitlines()]
            last = records[-1]
            if key != f"{last['stream']}/{last['producer']}/{last['seq']}" or headers["Lockstep-Last"] != f"{last['epoch']}:{last['offset']}":
                self.wrong.append(f"{key}: {headers['Lockstep-Last']} with {last}")
            if self.by_key:
                if self._bodies.setdefault(key, body) != body:
                    self.wrong.append(f"{key}: came with another body")
                known = key in self._keys
                self._keys.add(key)
                self.repeated += known
                self.taken += [] if known else records
            else:
                new = [record for record in records if (record["epoch"], record["offset"]) > self._last]
                self.repeated += len(records) - len(new)
                self.taken += new
                self._last = max(self._last, (last["epoch"], last["offset"]))
                known = not new
            if chance > 0.995:
                self.failed += 1
                return None
            return 409 if known else 200


class Way:
    def __init__(self, stack, name, flags, by_key, rng):
        self.stack, self.name, self.flags, self.rng = stack, name, flags, rng
        self.programs = Programs(stack)
        self.outside = Outside(by_key, rng)
        self.rows = [checker.SourceRow(str(i), f"k{i % 7}", f"{name}-{i}") for i in range(1, RECORDS + 1)]
        self.source = stack.directory / f"{name}.jsonl"
        self.source.write_text("".join(json.dumps({"key": row.key, "value": row.value}) + "\n" for row in self.rows))
        stack.create_topic("p", name)
        common = ["--topic", name, "--brokers", stack.brokers["p"], "--ledger", stack.ledger, "--format", "json"]
        self.producer = ["lockstep-producer", "--name", name, "--source", f"jsonl:{self.source}", "--until-end", *common]
        self.gate = ["lockstep-reorder", "--mode", "gate", "--group", name, "--sink", self.outside.url, *flags, *common]

    def run(self, kills):
        self.programs.call(f"{self.name}-producer", self.producer)
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
        found += checker.check_ledger(ledger, {self.name: self.rows})
        found += checker.check_outside(effects, ledger, {self.name: self.rows})
        print(
            f"{self.name}: {len(effects)} taken, {self.outside.repeated} repeats dropped, {self.outside.failed} requests failed, "
            f"{end.summary['in_doubt']} were in doubt at the end: {found}",
            flush=True,
        )
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        found = Way(stack, "keys", [], True, rng).run(options.kills - options.kills // 2)
        found += Way(stack, "lines", ["--sink-batch", "50"], False, rng).run(options.kills // 2)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
