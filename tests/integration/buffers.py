#!/usr/bin/python3
"""What the buffers of a recovery promise, on the real stack: the plan is what happens, a bad disk loses nothing, memory stays in the budget.

    buffers.py [CLAIM…]     default: all, one after the other, on one lost site

Two producers' records are re-injected one producer after the other, so that the standby's log is as far from the ledger's order as it can
be. Each claim recovers it with groups of its own.
"""

import argparse
import json
import signal
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
LARGE_SHARE = 25_000  # Of the one whose large records all have to wait: 200 MB.
NO, COULD_NOT, REFUSED, INTERRUPTED = 1, 2, 3, 130
MIB = 1 << 20


class Recovery(Scenario):
    def fill(self, share_of_a=SHARE, share_of_b=SHARE, pad=""):
        """One record of a, all of b, the rest of a: whichever is re-injected first, nearly all of it has to wait."""
        for producer, count in (("a", 1), ("b", share_of_b), ("a", share_of_a - 1)):
            self.write(producer, count, pad=pad)
            self.programs.call(f"{self.name}-{producer}", [*self.producer(producer), "--until-end"])
        self.whole_order = self.order()

    def put_back(self):
        """Of a topic that another one's failover left out."""
        self.site = "s"
        argv = ["lockstep-mirror-reconcile", "reinject", *self.here(), "--order", "none", "--execute", "--yes"]
        self.programs.call(f"{self.name}-reinject", argv)

    def recover(self, group, sink, *flags, start=True):
        argv = ["lockstep-reorder", "--mode", "recover", "--group", group, *self.here(), "--sink", sink, "--until-end", *flags]
        return [*argv, "--from", "start"] if start else argv

    def run(self, group, sink, *flags, expect=(0,), start=True):
        return self.programs.call(f"{self.name}-{group}", self.recover(group, sink, *flags, start=start), expect=expect)

    def outside(self, name):
        return self.stack.directory / f"{name}.jsonl"


def the_plan_of_one_budget_is_what_happens(s, budget):
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


def the_plan_is_what_happens(s):
    """--plan says for every buffer what a run then does: what waits, what is written, what is fetched; and it changes nothing."""
    # Of large records a batch takes as much as its part of the budget, and not as many as a batch may have.
    for of, budget in ((s, "1MiB"), (s, "10000records"), (s.large, "16MiB")):
        the_plan_of_one_budget_is_what_happens(of, budget)


def a_plan_is_refused_as_the_run_is(s):
    """A mistyped group would begin at the first record: --plan refuses it in the run's words, and says so in its last line."""
    refused = [s.programs.call(f"{s.name}-typo{len(more)}", [*s.recover("typo", "null", start=False), *more], expect=(REFUSED,)) for more in ([], ["--plan"])]
    why = {one.log[one.log.index("group typo") :].splitlines()[0] for one in refused}
    check("the plan is refused as the run is", len(why) == 1, why)
    check("the plan's last line says that it has none", refused[1].summary["complete"] is False and refused[1].summary["records"] == 0, refused[1].lines)
    s.run("typo-start", "null", "--plan")


def memory_stays_in_the_budget(s):
    """The process takes the budget and 150 MiB, though more waits than both; without a bound it takes more."""
    limit = (16 + 150) * MIB
    for buffer in ("spill", "bounded", "memory"):
        flags = ["--buffer", buffer, "--buffer-memory", "16MiB", "--spill-dir", s.stack.directory / "spill"]
        one = s.large.run(f"memory-{buffer}", "null", *flags).summary
        check(f"{buffer}: more waits than the process may take", one["parked_peak_bytes"] > limit, one)
        check(f"{buffer}: memory", (one["peak_memory_bytes"] <= limit) == (buffer != "memory"), one["peak_memory_bytes"])


def on_a_mount(s, group, options):
    """A directory, and the words before a command that see a tmpfs with these options there, in a namespace of their own; None without the right."""
    mount = s.stack.directory / group
    mount.mkdir()
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"mount -t tmpfs -o {options} none '{mount}' && exec \"$@\"", "sh"]
    tried = subprocess.run([*own, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        missing = any(words in tried.stderr.lower() for words in ("not permitted", "permission denied"))
        check(f"a disk that is {options} can be mounted, or the right to is missing", missing, tried.stderr)
        print(f"NOT TESTED: a disk that is {options}: {tried.stderr.strip()}", flush=True)
        return mount, None
    return mount, own


def a_bad_disk(s, group, directory, *flags, before=()):
    """A recovery that has to stop for its disk; its log. With a good disk the next run sends what is left: all leaves once, in order."""
    sink, buffer = f"jsonl:{s.outside(group)}", ["--buffer", "spill", "--buffer-memory", "1MiB", "--spill-dir"]
    argv = s.recover(group, sink, *buffer, directory, *flags)
    stopped = s.programs.call(f"{s.name}-{group}", [*before, BIN / argv[0], *argv[1:]], expect=(COULD_NOT,))
    s.run(group, sink, *buffer, s.stack.directory / "good-disk", start="gate_opened" not in stopped.log)
    left = records(s.outside(group).read_text().splitlines())[0]
    check(f"{group}: the next run sends everything, once, in the ledger's order", left == s.whole_order, (len(left), len(s.whole_order)))
    return stopped.log


def a_full_disk(s):
    """A file system of 1 MiB."""
    mount, own = on_a_mount(s, "full", "size=1m")
    if own:
        log = a_bad_disk(s, "full", mount, before=own)
        check("a full disk is named, with the reason and the cure", all(part in log for part in (str(mount), "No space left", "make room")), log)


def a_read_only_disk(s):
    mount, own = on_a_mount(s, "read-only", "ro")
    if own:
        log = a_bad_disk(s, "read-only", mount, before=own)
        check("a read-only disk is named, with the reason", str(mount) in log and "ead-only file system" in log, log)


def a_disk_that_cannot_take_it_loses_nothing(s):
    """Full, read-only, failing, limited, no directory, or left as a killed process left it: named, exit 2, and the next run sends everything."""
    spill = s.stack.directory / "disk"
    a_full_disk(s)
    a_read_only_disk(s)

    # A write that fails under way: a piece is an eighth of the budget before compression.
    log = a_bad_disk(s, "failing", spill, before=["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=20000"])
    check("a disk whose writes fail is named", str(spill) in log and "nothing is lost" in log, log)

    file = s.stack.directory / "a-file"
    file.write_text("not a directory")
    log = a_bad_disk(s, "no-directory", file)
    check("what is no directory is named", str(file) in log, log)

    log = a_bad_disk(s, "limited", spill, "--spill-max", "1MiB")
    check("the limit is named", "--spill-max" in log and "nothing is lost" in log, log)

    flags, sink = ["--buffer", "spill", "--buffer-memory", "1MiB", "--spill-dir"], f"jsonl:{s.outside('killed')}"
    killed, files = f"{s.name}-killed", lambda: list((spill / f"killed.{s.name}.0").rglob("*.sst"))
    s.programs.spawn(killed, s.recover("killed", sink, *flags, spill))
    s.programs.wait("the disk to be used", files, pause=0.005)
    s.stack.processes.kill([killed])
    check("a killed process leaves files", files())
    s.run("beside", "null", *flags, spill)
    check("another group's process leaves them alone", files())
    s.programs.call(f"{s.name}-on", s.recover("killed", sink, *flags, spill, start=False))
    check("the next one of that stream removes them", not files(), files())
    left = records(s.outside("killed").read_text().splitlines())[0]
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


def catches_sigterm(pid):
    """Whether the process has got so far as to be asked to stop."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def a_plan_that_ends_early_says_what_it_has(s):
    """A plan that fails, and one that waits and is stopped, end with one JSON object and the code that says which."""
    nobody = ["127.0.0.1:1" if word == s.stack.brokers["s"] else word for word in s.recover("plan", "null")]
    failed = s.programs.call(f"{s.name}-plan-failed", [*nobody, "--plan"], expect=(COULD_NOT,))
    check("its only line is one JSON object", len(failed.lines) == 1 and failed.summary["complete"] is False, failed.lines)
    kafka_admin.delete_records(s.stack.brokers["s"], s.name, len(s.whole_order))
    name = f"{s.name}-plan-stopped"
    s.programs.spawn(name, [*s.recover("plan", "null"), "--plan", "--stall-timeout", "300s"])
    s.programs.wait("it to run", lambda: catches_sigterm(s.stack.processes.parts[name]["pid"]))
    stopped = s.programs.stop(name, expect=(INTERRUPTED,))
    check("its only line is one JSON object", len(stopped.lines) == 1 and stopped.summary["complete"] is False, stopped.lines)


# The last ones take the records away.
CLAIMS = (the_plan_is_what_happens, a_plan_is_refused_as_the_run_is, memory_stays_in_the_budget, a_disk_that_cannot_take_it_loses_nothing, a_broker_that_dies_is_waited_for, records_that_are_gone_are_named, a_plan_that_ends_early_says_what_it_has)


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
        recovery.large = Recovery(stack, "large")
        if {memory_stays_in_the_budget.__name__, the_plan_is_what_happens.__name__} & set(options.names or known):
            recovery.large.create_topic()
            recovery.large.fill(LARGE_SHARE, 1, "x" * 8000)
        recovery.lose_the_site([])
        if recovery.large.written:
            recovery.large.put_back()
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
