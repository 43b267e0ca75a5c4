#!/usr/bin/python3
"""The judge sees what it is there to see: each broken world below is reported by its kind, the good one is not."""

import random
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checker  # noqa: E402
from checker import Effect, Entry, LogRecord, SourceRow  # noqa: E402


def world(seed):
    """Two producers, interleaved over two epochs, and all that left as it should."""
    rng = random.Random(seed)
    sources = {name: [SourceRow(str(10 * n), f"k{n % 3}", f"{name}-{n}") for n in range(1, 51)] for name in "AB"}
    ledger, next_seq = [], {"A": 1, "B": 1}
    while left := [name for name in "AB" if next_seq[name] <= 50]:
        name = rng.choice(left)
        epoch = 1 if len(ledger) < 60 else 2
        ledger.append(Entry(epoch, len(ledger) * 2 % 120, name, epoch, next_seq[name]))
        next_seq[name] += 1
    outside = [Effect(*entry, *sources[entry.producer][entry.seq - 1]) for entry in ledger]
    log = [LogRecord(n, entry.producer, entry.term, entry.seq) for n, entry in enumerate(ledger)]
    return sources, ledger, outside, log


class CheckOutside(unittest.TestCase):
    def setUp(self):
        self.sources, self.ledger, self.outside, self.log = world(seed=7)

    def kinds(self):
        return dict(checker.check_outside(self.outside, self.ledger, self.sources).count)

    def test_good_world_has_no_findings(self):
        self.assertEqual(self.kinds(), {})
        self.assertFalse(checker.check_ledger(self.ledger, self.sources))
        self.assertFalse(checker.check_log(self.log, self.ledger))

    def test_lost_in_the_middle(self):
        del self.outside[40]
        self.assertEqual(self.kinds(), {"lost": 1})

    def test_lost_at_the_end(self):
        del self.outside[-5:]
        self.assertEqual(self.kinds(), {"lost": 5})

    def test_doubled(self):
        self.outside.insert(60, self.outside[59])
        self.assertEqual(self.kinds(), {"doubled": 1})

    def test_doubled_much_later(self):
        self.outside += self.outside[10:20]
        self.assertEqual(self.kinds(), {"doubled": 10})

    def test_swapped_neighbours(self):
        self.outside[30], self.outside[31] = self.outside[31], self.outside[30]
        self.assertEqual(self.kinds(), {"reordered": 1})

    def test_swapped_over_the_failover(self):
        self.outside[59], self.outside[60] = self.outside[60], self.outside[59]
        self.assertEqual(self.kinds(), {"reordered": 1})

    def test_other_content(self):
        self.outside[3] = self.outside[3]._replace(value="other")
        self.assertEqual(self.kinds(), {"wrong": 1})

    def test_copy_of_another_term(self):
        self.outside[3] = self.outside[3]._replace(term=9)
        self.assertEqual(self.kinds(), {"wrong": 1})

    def test_invented(self):
        self.outside.append(Effect(2, 999, "A", 2, 51, "510", None, "?"))
        self.assertEqual(set(self.kinds()), {"unknown"})


class CheckTheRest(unittest.TestCase):
    def setUp(self):
        self.sources, self.ledger, self.outside, self.log = world(seed=8)

    def test_ledger_with_a_hole(self):
        del self.ledger[20]
        self.assertTrue(checker.check_ledger(self.ledger, self.sources).count["ledger"])

    def test_ledger_that_ends_too_early(self):
        self.assertTrue(checker.check_ledger(self.ledger[:-1], self.sources).count["ledger"])

    def test_log_with_a_hole(self):
        del self.log[20]
        self.assertTrue(checker.check_log(self.log, self.ledger).count["log"])

    def test_log_that_ends_too_early(self):
        self.assertTrue(checker.check_log(self.log[:-1], self.ledger).count["log"])

    def test_duplicates_and_void_records_in_a_log_are_fine(self):
        log = self.log[:40] + self.log[10:40] + [LogRecord(70, "A", 7, 3)] + self.log[40:]
        self.assertFalse(checker.check_log(log, self.ledger))

    def test_ledger_that_does_not_tell_the_truth(self):
        log = [LogRecord(entry.offset, entry.producer, entry.term, entry.seq) for entry in self.ledger if entry.epoch == 2]
        self.assertFalse(checker.check_truth(log, self.ledger, 2))
        log[5] = log[5]._replace(seq=99)
        self.assertEqual(checker.check_truth(log, self.ledger, 2).count["log"], 1)

    def test_acknowledged_and_gone(self):
        self.assertFalse(checker.check_acknowledged({"A": ["A-1", "A-50"]}, self.sources))
        self.assertEqual(checker.check_acknowledged({"A": ["A-51"]}, self.sources).count["lost"], 1)


if __name__ == "__main__":
    unittest.main()
