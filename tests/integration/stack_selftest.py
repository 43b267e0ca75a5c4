#!/usr/bin/python3
"""The real stack is what it says: records arrive at the standby with their headers, PostgreSQL is synchronous, a killed
site is dead, and nothing is left behind, neither by down() nor by a program that was killed itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from processes import strays, wait_for  # noqa: E402
from stack import Stack  # noqa: E402

RECORDS = 1000


def check(claim, holds):
    if not holds:
        sys.exit(f"FAILED: {claim}")
    print(f"ok: {claim}")


def kcat(*arguments, **options):
    return subprocess.run(["kcat", *arguments], capture_output=True, text=True, check=True, timeout=60, **options).stdout


def whole_life():
    begin = time.monotonic()
    with Stack(policy="identity", topics={"orders": 1}) as stack:
        print(f"up after {time.monotonic() - begin:.1f} s")
        directory = stack.directory
        check("PostgreSQL's standby is synchronous", stack.sql("pg_p", "select application_name, sync_state from pg_stat_replication") == "dr|sync")
        check("the ledger's two hosts are told apart", stack.sql("pg_s", "select pg_is_in_recovery()") == "t")

        values = "".join(f"value-{number}\n" for number in range(RECORDS))
        kcat("-P", "-b", stack.brokers["p"], "-t", "orders", "-p", "0", "-H", "lockstep=1/1//A", input=values)
        mirrored = stack.mirror_topic("orders")
        wait_for("all records at s", lambda: stack.end_offset("s", mirrored) == RECORDS, 60)
        print(f"mirrored after {time.monotonic() - begin:.1f} s")
        got = kcat("-C", "-b", stack.brokers["s"], "-t", mirrored, "-e", "-q", "-f", "%o %h %s\n").splitlines()
        check("s has every record, in order, with its header", got == [f"{n} lockstep=1/1//A value-{n}" for n in range(RECORDS)])

        stack.kill_site("p")
        check("a killed site is dead", not any(stack.processes.alive(part) for part in ("kafka_p", "mm2", "pg_p")))
        stack.promote()
        check("the standby takes writes after the promotion", stack.sql("pg_s", "create table t (); select pg_is_in_recovery()") == "f")
        stack.restart("kafka_p")
        check("a killed broker comes back with its log", stack.end_offset("p", "orders") == RECORDS)
    check("down leaves no process", not strays(directory))
    check("down leaves no directory", not directory.exists())


def killed_owner():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from stack import Stack; import signal\n"
        "stack = Stack(kafka=False); print(stack.directory, flush=True); signal.pause()"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).resolve().parent.parent / "support")], stdout=subprocess.PIPE, text=True)
    directory = Path(owner.stdout.readline().strip())
    check("the other program's stack is up", bool(strays(directory)))
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    wait_for("the guard's work", lambda: not directory.exists() and not strays(directory), 30)
    check("a killed owner leaves no process and no directory", True)


whole_life()
killed_owner()
