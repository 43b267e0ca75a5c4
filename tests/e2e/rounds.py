"""Rounds of a drill, one after another: told as they happen, judged, and kept as lines in a journal, so that counts add up over runs."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time

import parts
from processes import NotReady
from programs import ProgramFailed


def commit_id():
    git = ["git", "-C", str(parts.SOURCE)]
    commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout.strip()
    return commit + ("+changes" if dirty else "")


def play(number_of_rounds, first_seed, journal, kind, make_round):
    """Plays rounds with the seeds first_seed, first_seed + 1, …; returns (failed, rounds played, the journal's path and entries).

    kind(seed) is (its name, what the journal says of it besides, the options that play it again); make_round(seed, tell) an
    object with run(keep_log), which returns findings, and `facts`.
    """
    failed, played = 0, []
    journal = parts.cache_dir() / journal
    for number in range(number_of_rounds):
        seed = first_seed + number
        name, more, again = kind(seed)
        print(f"round {number + 1}/{number_of_rounds}: seed {seed}, {name}")
        begin = time.monotonic()
        one = make_round(seed, lambda text: print(f"  {time.monotonic() - begin:5.1f} s  {text}"))
        keep = parts.cache_dir() / "drill-failed" / f"{name}-{seed}".replace(" ", "-")
        shutil.rmtree(keep, ignore_errors=True)
        try:
            found = one.run(keep)
            verdict = dict(found.count)
        except (ProgramFailed, NotReady, RuntimeError, subprocess.SubprocessError) as error:
            found, verdict = str(error), {"failed": 1}
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit_id(), "seed": seed, **more,
            "ok": not verdict, "findings": verdict, **one.facts, "seconds": round(time.monotonic() - begin, 1),
        }  # fmt: skip
        with open(journal, "a") as file:
            file.write(json.dumps(entry) + "\n")
        if verdict:
            failed += 1
            print(f"  FAILED: {found}\n  logs: {keep}\n  again: ./dev drill {again} --rounds 1 --seed {seed}")
        else:
            shutil.rmtree(keep, ignore_errors=True)
            print(f"  ok in {entry['seconds']} s: {found}")
        played.append(one)
    return failed, played, journal, [json.loads(line) for line in journal.read_text().splitlines()]


def main(parser, drill):
    """Adds the options that every drill has, and runs it."""
    parser.add_argument("--rounds", type=int, default=1, help="rounds, with seeds SEED, SEED+1, … (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="first seed; fixes the moment of the kill and all sizes (default: random)")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1_000_000)
    sys.stdout.reconfigure(line_buffering=True)
    with contextlib.suppress(KeyboardInterrupt):
        return drill(options)
    return 130
