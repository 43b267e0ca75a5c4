#!/usr/bin/python3
"""The real stack, left running to play with: two Kafka sites, MirrorMaker 2, a synchronous PostgreSQL pair.

    ./dev stack up --topic orders     prints addresses and lines to copy into a shell
    ./dev stack kill p                the primary site dies
    ./dev stack down                  nothing is left behind
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import parts  # noqa: E402
from processes import NotReady, Processes, destroy  # noqa: E402
from stack import DATABASE, POLICIES, SITES, Stack  # noqa: E402

POINTER = parts.SOURCE / ".stack" / "directory"


def _current():
    """The directory of the stack that `up` left running, or None."""
    if not POINTER.exists():
        return None
    directory = Path(POINTER.read_text().strip())
    return directory if (directory / "state.json").exists() else None


def _print_how_to_reach(facts):
    print(f"policy {facts['policy']}: MirrorMaker 2 copies p to s" if facts["policy"] != "none" else "policy none: no mirror")
    print("\n# to copy into a shell:")
    print(f"export P={facts['brokers']['p']} S={facts['brokers']['s']}")
    print(f"export LOCKSTEP_LEDGER='{facts['ledger']}'")
    for name, part in (("LEDGER_P", "pg_p"), ("LEDGER_S", "pg_s")):
        print(f"export {name}='host=127.0.0.1 port={facts['ports'][part]} dbname={DATABASE} user=postgres'")


def _up(options):
    begin = time.monotonic()
    if _current():
        print(f"a stack is up already, in {_current()}: ./dev stack status, ./dev stack down", file=sys.stderr)
        return 2
    stack = Stack(
        directory=options.dir,
        policy=options.policy,
        topics=dict((name, int(count or 1)) for name, _, count in (topic.partition(":") for topic in options.topic)),
        toxiproxy=options.toxiproxy,
        detached=True,
    )
    POINTER.parent.mkdir(exist_ok=True)
    POINTER.write_text(str(stack.directory))
    print(f"up in {time.monotonic() - begin:.1f} s, in {stack.directory} (logs in log/)")
    _print_how_to_reach(stack.processes.facts)
    if options.toxiproxy:
        print("export TOXIPROXY=" + stack.address("toxiproxy"), *(f"{n.upper()}={stack.address(n)}" for n in stack.port if n[:4] == "via_"))
    return 0


def _status(options):
    directory = _current()
    if directory is None:
        print("no stack is up")
        return 1
    processes = Processes(directory)
    states = {name: processes.alive(name) for name in processes.parts}
    if options.format == "json":
        print(json.dumps({"directory": str(directory), "alive": states, **processes.facts}))
    else:
        print(f"in {directory}")
        for name, alive in states.items():
            print(f"  {name:10} {'running, pid ' + str(processes.parts[name]['pid']) if alive else 'ended'}")
        _print_how_to_reach(processes.facts)
    return 0 if all(states.values()) else 1


def _signal(options):
    directory = _current()
    if directory is None:
        print("no stack is up", file=sys.stderr)
        return 2
    processes = Processes(directory)
    names = [name for name in SITES.get(options.part, (options.part,)) if name in processes.parts]
    if not names:
        print(f"no part {options.part}: one of p, s, {', '.join(processes.parts)}", file=sys.stderr)
        return 2
    if options.verb == "kill":
        processes.kill(names)
    else:
        processes.send(names, signal.SIGSTOP if options.verb == "stop" else signal.SIGCONT)
    return 0


def _run(options):
    """Runs a command beside a private stack; it finds the primary site in its environment."""
    with Stack(policy=options.policy, toxiproxy=options.toxiproxy, kafka=options.kafka) as stack:
        env = {
            **{site.upper(): broker for site, broker in stack.brokers.items()},
            **({"LOCKSTEP_BROKERS": stack.brokers["p"]} if options.kafka else {}),
            "LOCKSTEP_LEDGER": stack.ledger,
            "LEDGER_P": stack.conninfo("pg_p"),
            "LEDGER_S": stack.conninfo("pg_s"),
            **{name.upper(): stack.address(name) for name in stack.port if name.startswith("via_") or name == "toxiproxy"},
        }
        if options.toxiproxy:  # What lockstep-bench calls them.
            env |= {"LOCKSTEP_TOXIPROXY": env["TOXIPROXY"], "LOCKSTEP_STANDBY_PROXY": env["VIA_PG_S"]}
        return subprocess.run(options.command, env={**os.environ, **env}).returncode


def _down(_):
    if POINTER.exists():
        destroy(Path(POINTER.read_text().strip()))
        POINTER.unlink()
    return 0


def main():
    parser = argparse.ArgumentParser(prog="./dev stack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start it; prints addresses and lines to copy")
    up.add_argument("--policy", choices=POLICIES, default="identity", help="MirrorMaker 2's naming policy, or no mirror (default %(default)s)")
    up.add_argument("--topic", action="append", default=[], metavar="NAME[:PARTITIONS]", help="create a topic at p (repeatable)")
    up.add_argument("--toxiproxy", action="store_true", help="also a proxy before every part, for latency and cuts")
    up.add_argument("--dir", help="an empty directory to use (default: a temporary one)")
    up.set_defaults(run=_up)
    status = verbs.add_parser("status", help="what runs; exit 1 when a part has ended")
    status.add_argument("--format", choices=("text", "json"), default="text")
    status.set_defaults(run=_status)
    for verb, text in (("kill", "SIGKILL for a part or a site (p, s)"), ("stop", "SIGSTOP"), ("cont", "SIGCONT")):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("part", metavar="PART|SITE")
        one.set_defaults(run=_signal)
    run = verbs.add_parser("run", help="start a private one, run a command beside it, end it: run [--policy …] -- COMMAND…")
    run.add_argument("--policy", choices=POLICIES, default="identity")
    run.add_argument("--toxiproxy", action="store_true")
    run.add_argument("--no-kafka", dest="kafka", action="store_false", help="the PostgreSQL pair alone")
    run.add_argument("command", nargs="+", metavar="COMMAND")
    run.set_defaults(run=_run)
    verbs.add_parser("down", help="end all of it and remove its directory").set_defaults(run=_down)
    options = parser.parse_args()
    try:
        return options.run(options)
    except (parts.PartMissing, NotReady, RuntimeError, OSError) as error:
        print(f"stack {options.verb}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
