#!/usr/bin/env python3
"""Does lockstep-mock-sites give what the demo rests on?

An idempotent producer works on it, partitions are as ordered, headers reach the standby, the tail
younger than the mirror's lag dies with P, and a partition keeps 30,000 records of 100 B.
"""
import json
import os
import subprocess
import time

RECORDS = 30_000
PARTITIONS = 2


class Sites:
    """The program under test; ended with the block, however it ends."""

    def __init__(self, program, *arguments):
        self._process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = json.loads(self._process.stdout.readline())
        self.p, self.s = started["p"], started["s"]

    def say(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(10)


def produce(brokers, partition, first, count):
    lines = "".join(f"k{i}:{i:0100d}\n" for i in range(first, first + count))
    subprocess.run(
        ["kcat", "-b", brokers, "-P", "-t", "orders", "-p", str(partition), "-K:", "-H",
         "lockstep=1/1//A", "-X", "enable.idempotence=true", "-X", "acks=all"],
        input=lines, text=True, check=True, timeout=30)


def consume(brokers, partition):
    out = subprocess.run(
        ["kcat", "-b", brokers, "-C", "-t", "orders", "-p", str(partition), "-o", "beginning",
         "-e", "-q", "-f", "%o %k %h\n"], capture_output=True, text=True, check=True, timeout=30)
    return out.stdout.splitlines()


def partitions(brokers):
    out = subprocess.run(["kcat", "-b", brokers, "-L", "-J", "-t", "orders"],
                         capture_output=True, text=True, check=True, timeout=30)
    return len(json.loads(out.stdout)["topics"][0]["partitions"])


def wait_until(what, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def main(program):
    with Sites(program, "--topic", f"orders:{PARTITIONS}", "--lag-ms", "2000") as sites:
        assert partitions(sites.p) == partitions(sites.s) == PARTITIONS
        produce(sites.p, 1, 1, RECORDS)
        assert len(consume(sites.p, 1)) == RECORDS, "the mock broker dropped records"
        wait_until("everything mirrored",
                   lambda: sites.say("status")["mirrored"] == RECORDS)
        produce(sites.p, 1, RECORDS + 1, 500)
        killed = sites.say("kill p")
        assert killed["mirrored"] == RECORDS, f"nothing was lost: {killed}"
        got = consume(sites.s, 1)
        want = [f"{i} k{i + 1} lockstep=1/1//A" for i in range(RECORDS)]
        assert got == want, f"{len(got)} records at the standby, first {got[:1]}"
    print(f"mock_sites_selftest: {RECORDS} mirrored with headers, 500 lost with the site")


if __name__ == "__main__":
    main(os.path.join(os.environ["LOCKSTEP_BIN"], "lockstep-mock-sites"))
