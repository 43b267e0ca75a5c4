"""Was anything lost, doubled or reordered? The judge of drill and demo; shares no code with the programs.

Plain data in, findings out:

    sources   {producer: [SourceRow, …] in source order}          what the business wrote
    ledger    [Entry, …] in the ledger's order                    what the primary's order was
    outside   [Effect, …] in the order in which they left         what the world got
    log       [LogRecord, …] in log order                         what lies in a site's Kafka

An empty list of findings is the only good answer. Kinds: lost, doubled, reordered, wrong (right place, other content),
unknown (nobody wrote it), ledger (the ledger contradicts itself), log (I1 or I2 does not hold in a log).
"""

import collections
from typing import NamedTuple

EXAMPLES = 3


class SourceRow(NamedTuple):
    at: str
    key: str | None
    value: str


class Entry(NamedTuple):
    epoch: int
    offset: int
    producer: str
    term: int
    seq: int


class Effect(NamedTuple):
    epoch: int
    offset: int
    producer: str
    term: int
    seq: int
    at: str
    key: str | None
    value: str

    @property
    def entry(self):
        return Entry(*self[:5])


class LogRecord(NamedTuple):
    offset: int
    producer: str
    term: int
    seq: int
    reinjected: bool = False


class Findings:
    """What was found, by kind: how many, and the first few in words."""

    def __init__(self):
        self.count = collections.Counter()
        self.examples = []

    def add(self, kind, text):
        self.count[kind] += 1
        if self.count[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {text}")

    def __bool__(self):
        return bool(self.count)

    def __iadd__(self, other):
        self.count.update(other.count)
        self.examples += other.examples
        return self

    def __str__(self):
        if not self:
            return "lost 0 · doubled 0 · out of order 0"
        counts = " · ".join(f"{kind} {number}" for kind, number in sorted(self.count.items()))
        return "\n  ".join([counts, *self.examples])


def check_ledger(ledger, sources):
    """Per producer the ledger's seqs are 1,2,3… in the order of its positions, one for each source row."""
    found = Findings()
    next_seq = collections.defaultdict(lambda: 1)
    last = None
    for entry in ledger:
        if last is not None and (entry.epoch, entry.offset) <= last:
            found.add("ledger", f"{entry} does not lie behind {last}")
        last = entry.epoch, entry.offset
        if entry.seq != next_seq[entry.producer]:
            found.add("ledger", f"{entry}: seq {next_seq[entry.producer]} was next")
        next_seq[entry.producer] = entry.seq + 1
    for producer, rows in sources.items():
        if next_seq[producer] - 1 != len(rows):
            found.add("ledger", f"{producer}: {next_seq[producer] - 1} records for {len(rows)} source rows")
    return found


def check_outside(outside, ledger, sources):
    """I5: every source row exactly once, with its content, in the ledger's order."""
    found = Findings()
    count = collections.Counter((effect.producer, effect.seq) for effect in outside)
    for (producer, seq), times in count.items():
        if times > 1:
            found.add("doubled", f"({producer}, {seq}) left {times} times")
    for producer, rows in sources.items():
        for seq in range(1, len(rows) + 1):
            if (producer, seq) not in count:
                found.add("lost", f"({producer}, {seq}), source position {rows[seq - 1].at}")
    for effect in outside:
        rows = sources.get(effect.producer, ())
        if not 1 <= effect.seq <= len(rows):
            found.add("unknown", f"{effect.entry}: no such source row")
            continue
        row = rows[effect.seq - 1]
        if (effect.at, effect.key, effect.value) != row:
            found.add("wrong", f"{effect.entry}: left with {effect[5:]}, the source has {tuple(row)}")

    # Doubles and losses are told above; here only the order of what left, each at its first time.
    position = {(entry.producer, entry.seq): entry for entry in ledger}
    seen, last = set(), None
    for effect in outside:
        identity = effect.producer, effect.seq
        if identity in seen:
            continue
        seen.add(identity)
        entry = position.get(identity)
        if entry is None:
            found.add("unknown", f"{effect.entry}: not in the ledger")
        elif entry != effect.entry:
            found.add("wrong", f"left as {effect.entry}, ledgered as {entry}")
        elif last is not None and (entry.epoch, entry.offset) < last:
            found.add("reordered", f"{entry} left behind {last}")
        else:
            last = entry.epoch, entry.offset
    return found


def check_log(log, ledger):
    """I1: without duplicates and void records each producer's seqs are 1,2,3… in offset order."""
    found = Findings()
    term = {(entry.producer, entry.seq): entry.term for entry in ledger}
    next_seq = collections.defaultdict(lambda: 1)
    for record in log:
        if term.get((record.producer, record.seq)) != record.term:
            continue  # void
        if record.seq > next_seq[record.producer]:
            found.add("log", f"I1: {record}: seq {next_seq[record.producer]} was next")
        next_seq[record.producer] = max(next_seq[record.producer], record.seq + 1)
    last_seq = collections.Counter()
    for entry in ledger:
        last_seq[entry.producer] = max(last_seq[entry.producer], entry.seq)
    for producer, last in last_seq.items():
        if next_seq[producer] <= last:
            found.add("log", f"I1: {producer}: the log ends at seq {next_seq[producer] - 1}, the ledger at {last}")
    return found


def check_truth(log, ledger, epoch):
    """I2: what the ledger says of the epoch lies at those offsets of the epoch's own log."""
    found = Findings()
    at = {record.offset: (record.producer, record.term, record.seq) for record in log}
    for entry in ledger:
        if entry.epoch == epoch and at.get(entry.offset) != (entry.producer, entry.term, entry.seq):
            found.add("log", f"I2: {entry}: the log has {at.get(entry.offset)} there")
    return found


def check_acknowledged(acknowledged, sources):
    """I6 at the source: every value whose commit was acknowledged is among the source's rows."""
    found = Findings()
    for producer, values in acknowledged.items():
        have = {row.value for row in sources.get(producer, ())}
        for value in values:
            if value not in have:
                found.add("lost", f"{producer}: acknowledged and not in the source: {value[:60]}")
    return found
