#!/usr/bin/python3
"""What the buffers of a recovery promise, on the real stack: the plan is what happens, a bad disk loses nothing, memory stays in the budget.

    buffers.py [CLAIM…]     default: all, one after the other, on one lost site

Two producers' records are re-injected one producer after the other, so that the standby's log is as far from the ledger's order as it can
be. Each claim recovers it with groups of its own.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from modes import ClaimFailed, Scenario, check, records  # noqa: E402
import kafka_admin  # noqa: E402
from processes import NotReady  # noqa: E402
from programs import BIN, ProgramFailed, Programs  # noqa: E402
from stack import Stack  # noqa: E402

SHARE = 100_000  # Records of each producer.
NO, COULD_NOT, REFUSED = 1, 2, 3
MIB = 1 << 20


class Recovery(Scenario):
    def fill(self):
        """One record of a, all of b, the rest of a: whichever is re-injected first, nearly all of it has to wait."""
        for producer, count in (("a", 1), ("b", SHARE), ("a", SHARE - 1)):
            self.write(producer, count)
            self.programs.call(f"{self.name}-{producer}", [*self.producer(producer), "--until-end"])
        self.whole_order = self.order()

    def recover(self, group, sink, *flags, start=True):
        argv = ["lockstep-reorder", "--mode", "recover", "--group", group, *self.here(), "--sink", sink, "--until-end", *flags]
        return [*argv, "--from", "start"] if start else argv

    def run(self, group, sink, *flags, expect=(0,)):
        return self.programs.call(f"{self.name}-{group}", self.recover(group, sink, *flags), expect=expect)

    def outside(self, name):
        return self.stack.directory / f"{name}.jsonl"


def the_plan_is_what_happens(s):
    """--plan says for every buffer what a run then does: what waits, what is written, what is fetched; and it changes nothing."""
    for budget in ("1MiB", "10000records"):
        memory = ["--buffer-memory", budget]
        before = s.stack.sql(s.database, "select count(*), max(term) from lockstep.cursor")
        plan = s.run("plan", "null", *memory, "--plan").summary
        check("the plan changes nothing", s.stack.sql(s.database, "select count(*), max(term) from lockstep.cursor") == before)
        check("the plan counts all", plan["records"] == len(s.whole_order), plan)
        planned = {one["buffer"]: one for one in plan["buffers"]}
        check("there are plans for all buffers", list(planned) == ["memory", "spill", "bounded"], plan)
        for buffer, of in planned.items():
            spill = ["--spill-dir", s.stack.directory / "spill"]
            one = s.run(f"plan-{buffer}-{budget}", "null", "--buffer", buffer, *memory, *spill).summary
            peaks = one["parked_peak_records"], one["parked_peak_bytes"]
            check(f"{buffer}: what waits at the peak", peaks == (of["peak_records"], of["peak_bytes"]), (one, of))
            fetched = one["fetches"], one["fetches_bound"], one["records_fetched"]
            check(f"{buffer}: what is fetched again", fetched == (of["fetches"], of["fetches_bound"], of["records_fetched"]), (one, of))
            check(f"{buffer}: within the bound", of["bound_holds"] and one["fetches"] <= one["fetches_bound"], one)
            check(f"{buffer}: what is written", one["spilled_bytes"] == of["spilled_bytes"], (one["spilled_bytes"], of["spilled_bytes"]))
        check("something was written and fetched", planned["spill"]["spilled_bytes"] > 0 and planned["bounded"]["fetches"] > 0, planned)


def memory_stays_in_the_budget(s):
    """The process takes the budget and 150 MiB, whatever waits."""
    for buffer in ("spill", "bounded"):
        flags = ["--buffer", buffer, "--buffer-memory", "2MiB", "--spill-dir", s.stack.directory / "spill"]
        one = s.run(f"memory-{buffer}", "null", *flags).summary
        check(f"{buffer}: more waits than the budget holds", one["parked_peak_bytes"] > 3 * 2 * MIB, one)
        check(f"{buffer}: memory", one["peak_memory_bytes"] <= (2 + 150) * MIB, one["peak_memory_bytes"])


def a_read_only_disk(s, flags):
    """A file system that is really read-only, in a mount namespace of its own."""
    mount = s.stack.directory / "read-only"
    mount.mkdir()
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"mount -t tmpfs -o ro none '{mount}' && exec \"$@\"", "sh"]
    if subprocess.run([*own, "true"], capture_output=True).returncode != 0:
        print("SKIPPED: a read-only disk: this machine lets nobody mount in a namespace of his own", flush=True)
        return
    argv = s.recover("read-only", "null", *flags, mount)
    outcome = s.programs.call(f"{s.name}-read-only", [*own, BIN / argv[0], *argv[1:]], expect=(COULD_NOT,))
    check("a read-only disk is named, with the reason", str(mount) in outcome.log and "ead-only file system" in outcome.log, outcome.log)


def a_disk_that_cannot_take_it_loses_nothing(s):
    """Full, limited, no directory, or left as a killed process left it: named, exit 2, and the next run sends everything."""
    spill = s.stack.directory / "disk"
    flags = ["--buffer", "spill", "--buffer-memory", "1MiB", "--spill-dir"]

    # A limit on file sizes fails a write as a full disk does: of a piece, which is an eighth of the budget before compression.
    argv = s.recover("full", "null", *flags, spill)
    argv = ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=20000", BIN / argv[0], *argv[1:]]
    full = s.programs.call(f"{s.name}-full", argv, expect=(COULD_NOT,))
    check("a full disk is named", str(spill) in full.log and "nothing is lost" in full.log, full.log)

    a_read_only_disk(s, flags)

    file = s.stack.directory / "a-file"
    file.write_text("not a directory")
    refused = s.run("no-directory", "null", *flags, file, expect=(COULD_NOT,))
    check("what is no directory is named", str(file) in refused.log, refused.log)

    sink = f"jsonl:{s.outside('limited')}"
    limited = s.run("limited", sink, *flags, spill, "--spill-max", "1MiB", expect=(COULD_NOT,))
    check("the limit is named", "--spill-max" in limited.log and "nothing is lost" in limited.log, limited.log)

    killed, files = f"{s.name}-killed", lambda: list((spill / f"limited.{s.name}.0").rglob("*.sst"))
    s.programs.spawn(killed, s.recover("limited", sink, *flags, spill, start=False))
    s.programs.wait("the disk to be used", files, pause=0.005)
    s.stack.processes.kill([killed])
    check("a killed process leaves files", files())
    s.run("beside", "null", *flags, spill)
    check("another group's process leaves them alone", files())
    s.programs.call(f"{s.name}-on", s.recover("limited", sink, *flags, spill, start=False))
    check("the next one of that stream removes them", not files(), files())
    left = records(s.outside("limited").read_text().splitlines())[0]
    check("the ledger's order left, once", left == s.whole_order, (len(left), len(s.whole_order)))


def a_broker_that_dies_is_waited_for(s):
    """The broker dies while a bounded recovery has most to fetch again: with the broker back it goes on, and all leaves once, in order."""
    name, out = f"{s.name}-away", s.outside("away")
    argv = s.recover("away", f"jsonl:{out}", "--buffer", "bounded", "--buffer-memory", "2000records", "--stall-timeout", "300s", "-X", "reconnect.backoff.max.ms=500")
    s.programs.spawn(name, argv)
    s.programs.wait("some to be sent", lambda: out.exists() and out.stat().st_size > 0, pause=0.005)
    s.stack.kill("kafka_s")
    s.programs.wait("it to wait for the broker", lambda: "waiting" in s.stack.processes.log_tail(name) or s.programs.ended(name))
    check("it did not end", not s.programs.ended(name), s.programs.outcome(name).log if s.programs.ended(name) else "")
    s.stack.restart("kafka_s")
    s.programs.wait("it to end", lambda: s.programs.ended(name))
    outcome = s.programs.outcome(name)
    check("it ended well", outcome.code == 0, outcome.log)
    check("parts were fetched again", outcome.summary["fetches"] > 0, outcome.summary)
    left = records(out.read_text().splitlines())[0]
    check("the ledger's order left, once", left == s.whole_order, (len(left), len(s.whole_order)))


# Takes records until told to wait, and then the rest.
CONSUMER = """
import json, pathlib, sys, time
out, begun, go = map(pathlib.Path, sys.argv[1:])
with out.open("w") as file:
    for number, line in enumerate(sys.stdin):
        if number == 1000:
            begun.touch()
            while not go.exists():
                time.sleep(0.01)
        row = json.loads(line)
        file.write(line)
        file.flush()
        print(json.dumps({"done": f"{row['epoch']}:{row['offset']}"}), flush=True)
"""


def records_that_are_gone_are_named(s):
    """Retention takes what a bounded recovery would have to fetch again: it stops and names the record, nothing is skipped."""
    script, out, begun, go = (s.stack.directory / f"gone.{what}" for what in ("py", "jsonl", "begun", "go"))
    script.write_text(CONSUMER)
    name = f"{s.name}-gone"
    s.programs.spawn(name, s.recover("gone", f"exec:{sys.executable} {script} {out} {begun} {go}", "--buffer", "bounded", "--buffer-memory", "2000records"))
    s.programs.wait("some to be sent", begun.exists)
    kafka_admin.delete_records(s.stack.brokers["s"], s.name, 2 * SHARE)
    go.touch()
    s.programs.wait("it to end", lambda: s.programs.ended(name))
    outcome = s.programs.outcome(name)
    check("it did not end well", outcome.code in (NO, REFUSED), (outcome.code, outcome.log))
    check("the record and the reason are named", "retention" in outcome.log and "seq" in outcome.log, outcome.log)
    left = records(out.read_text().splitlines())[0]
    check("what left is a beginning of the ledger's order", left == s.whole_order[: len(left)] and len(left) < len(s.whole_order), len(left))


# The last one takes the records away.
CLAIMS = (the_plan_is_what_happens, memory_stays_in_the_budget, a_disk_that_cannot_take_it_loses_nothing, a_broker_that_dies_is_waited_for, records_that_are_gone_are_named)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CLAIM")
    options = parser.parse_args()
    known = {claim.__name__: claim for claim in CLAIMS}
    if unknown := set(options.names) - set(known):
        parser.error(f"no claim {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    with Stack(policy="none") as stack:
        Programs(stack).call("init", ["lockstep-ledger", "init", "--ledger", stack.ledger])
        recovery = Recovery(stack, "buffers")
        recovery.create_topic()
        recovery.fill()
        recovery.lose_the_site([])
        for name in options.names or known:
            begin = time.monotonic()
            try:
                known[name](recovery)
                print(f"ok in {time.monotonic() - begin:.1f} s: {name}: {known[name].__doc__}", flush=True)
            except (ClaimFailed, ProgramFailed, NotReady, RuntimeError) as error:
                failed.append(name)
                print(f"FAILED: {name}: {known[name].__doc__}\n{error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
