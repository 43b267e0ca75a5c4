#!/usr/bin/python3
"""The judge of the drill can say no: on one lost site each promise is broken once, and it finds exactly that.

Between the breaks, and when the real failover has healed the first, it must find nothing.
"""

import sys

import drill

FINDS = {
    "gap": {"lost", "log"},  # nothing was re-injected: effects are missing, and the standby's log ends early
    "gate": {"doubled"},  # a gate without a cursor
    "fence": {"ledger", "log"},  # a row of the old tenure came into the frozen epoch
}


def main():
    sys.stdout.reconfigure(line_buffering=True)
    one = drill.Round(seed=3, policy="identity", records=3000, breaks=drill.BREAKS)
    found = one.run()
    wrong = [] if not found else [f"nothing was broken any more, and the judge says: {found}"]
    for name, kinds in FINDS.items():
        seen = one.broken[name]
        print(f"{name} broken: {seen}")
        if set(seen.count) != kinds:
            wrong.append(f"{name} broken: found {sorted(seen.count)}, expected {sorted(kinds)}")
    print("\n".join(wrong) or "every break was found, and nothing else")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
