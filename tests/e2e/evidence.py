"""What the judge looks at: the ledger by plain SQL, the outside as it is, a site's Kafka through kcat."""

import collections
import json
import subprocess

from checker import Effect, Entry, LogRecord


def _psql(conninfo, query):
    done = subprocess.run(["psql", "-XAtq", "-F", "\x1f", "-d", conninfo, "-c", query], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{query}: {done.stderr.strip()}")
    # Not splitlines: \x1e, which marks a null key, ends a line for it.
    return [line.split("\x1f") for line in done.stdout.split("\n") if line]


def _offsets(multirange):
    """'{[3,5),[9,10)}' → 3, 4, 9"""
    for piece in multirange.strip("{}").replace("),[", ");[").split(";"):
        low, high = piece.strip("[)").split(",")
        yield from range(int(low), int(high))


def ledger_entries(conninfo, topic, partition=0):
    """The stream's records in the ledger's order, from the run table alone."""
    rows = _psql(
        conninfo,
        "select r.epoch, p.name, r.term, r.first_seq, r.last_seq, r.offsets from lockstep.run r "
        "join lockstep.producer p using (producer) join lockstep.stream s using (stream) "
        f"where s.topic = '{topic}' and s.partition = {partition}",
    )
    entries = []
    for epoch, producer, term, first, last, offsets in rows:
        offsets = list(_offsets(offsets))
        if len(offsets) != int(last) - int(first) + 1:
            raise RuntimeError(f"run {producer} [{first},{last}]: {len(offsets)} offsets")
        entries += [Entry(int(epoch), offset, producer, int(term), seq) for seq, offset in enumerate(offsets, start=int(first))]
    return sorted(entries)


def effects_by_stream(path):
    """What left through a jsonl sink, {"topic/partition": [Effect, …]}. A torn last line (of a gate that was killed) did not leave."""
    effects = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            r = json.loads(line)
            effects[r["stream"]].append(
                Effect(r["epoch"], r["offset"], r["producer"], r["term"], r["seq"], r["at"], r.get("key"), r["value"])
            )
    return effects


def file_effects(path):
    """The same of an outside of one stream."""
    return [effect for effects in effects_by_stream(path).values() for effect in effects]


def table_effects(conninfo, table, source_of):
    """What left through a table sink, in the order of its `emitted` column; the table has no source position."""
    rows = _psql(
        conninfo,
        "select epoch, \"offset\", producer, term, seq, coalesce(convert_from(key, 'UTF8'), e'\\x1e'), convert_from(value, 'UTF8') "
        f"from {table} order by emitted",
    )
    effects = []
    for epoch, offset, producer, term, seq, key, value in rows:
        known = source_of.get(producer, [])
        at = known[int(seq) - 1].at if 1 <= int(seq) <= len(known) else "?"
        effects.append(Effect(int(epoch), int(offset), producer, int(term), int(seq), at, None if key == "\x1e" else key, value))
    return effects


def log_records(broker, topic, partition=0):
    """Our records in one log, in offset order; foreign ones are left out."""
    done = subprocess.run(
        ["kcat", "-C", "-b", broker, "-t", topic, "-p", str(partition), "-o", "beginning", "-e", "-q", "-f", "%o %h\n"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode != 0:
        if "Unknown partition" in done.stderr or "Unknown topic" in done.stderr:
            return []  # The site was lost before its mirror had made the topic.
        raise RuntimeError(f"kcat {topic}: {done.stderr.strip()}")
    records = []
    for line in done.stdout.splitlines():
        offset, _, headers = line.partition(" ")
        headers = dict(header.partition("=")[::2] for header in headers.split(","))
        if "lockstep" in headers:
            term, seq, _, producer = headers["lockstep"].split("/", 3)
            records.append(LogRecord(int(offset), producer, int(term), int(seq), "lockstep-reinjected" in headers))
    return records
