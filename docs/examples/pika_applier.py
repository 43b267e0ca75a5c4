#!/usr/bin/python3
"""Applies the events of a Pika source to a Redis: what its keyspace looks like, key by key, type by type, TTL by TTL.

  kcat -C -b BROKER -t pika.c1 -p 0 -e -f '%s\\n' | pika_applier.py --redis 127.0.0.1:6379
  lockstep-reorder … --sink jsonl:- | pika_applier.py --redis 127.0.0.1:6379

Reads one event a line, or the lines of lockstep-reorder's jsonl sink; one partition, in order. Applying is idempotent: the last
position goes into the Redis with what it is the position of, and events at or below it are skipped, so a repeat does no harm.

A full copy takes the place of what was there; the binlog goes on behind it. Up to Pika 3.5 a key may be live in several types at
once, which Redis does not know: --types apart (default) gives database dbN a Redis database for each type (6 N + type, see TYPES),
--types together, for Pika 4.0, gives it Redis database N. The last Redis database keeps the positions.

--to-pika HOST:PORT --behind FILENUM:OFFSET writes the binlog's events above that position, as they were logged, to another Pika:
one that was a replica and ends there has then what was lost with its master, at the same positions.

What no consumer can reproduce: SPOP as Pika 3.0 and 3.4 log it (it takes a random member), HyperLogLogs byte for byte.
"""

import argparse
import base64
import json
import signal
import socket
import sys
import time

TYPES = ("string", "hash", "list", "set", "zset", "stream")
STATE = "lockstep:pika-applier"
BATCH = 500
DELETE_IF = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Redis:
    """A connection that pipelines. Errors of single commands come back as Refused."""

    class Refused(Exception):
        pass

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=60)
        self._in = self._socket.makefile("rb")

    def call(self, commands):
        """Sends them all at once; the answers, in order."""
        out = bytearray()
        for command in commands:
            out += b"*%d\r\n" % len(command)
            for word in command:
                word = word if isinstance(word, bytes) else str(word).encode()
                out += b"$%d\r\n%s\r\n" % (len(word), word)
        self._socket.sendall(out)
        return [self._answer() for _ in commands]

    def _answer(self):
        line = self._in.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Redis.Refused(rest.decode(errors="replace"))
        if kind == b"$":
            return None if rest == b"-1" else self._in.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest


def position_of(event):
    """As the producer orders them: file, offset, copy, number in it."""
    copy = event.get("snapshot") or {"id": 0, "number": 0}
    return event["binlog"]["filenum"], event["binlog"]["offset"], copy["id"], copy["number"]


def expiry(name, seconds):
    """The options of a SET that expires at a time as Pika logs it: above 2147483647 it is in milliseconds."""
    return (b"PXAT", seconds) if seconds > 2147483647 else (name, seconds)


def translate(args, ts_ms):
    """A command as Pika logged it, in the words of Redis; relative times count from when it was logged."""
    op, logged = args[0].lower(), ts_ms // 1000
    if op == b"pksetexat":
        _, key, at, value = args
        at = int(at)
        if at == 0:
            return [b"SET", key, value]
        past = at <= (time.time() * 1000 if at > 2147483647 else time.time())
        return [b"DEL", key] if past else [b"SET", key, value, *expiry(b"EXAT", at)]
    if op == b"set":
        words = list(args)
        for index in range(3, len(words) - 1):
            unit = words[index].lower()
            if unit in (b"ex", b"px"):
                seconds = int(words[index + 1]) // (1000 if unit == b"px" else 1)
                words[index : index + 2] = [b"EXAT", logged + seconds]
                break
        return words
    if op in (b"setex", b"psetex"):
        return [b"SET", args[1], args[3], b"EXAT", logged + int(args[2]) // (1000 if op == b"psetex" else 1)]
    if op in (b"expire", b"pexpire"):
        return [b"EXPIREAT", args[1], logged + int(args[2]) // (1000 if op == b"pexpire" else 1)]
    if op == b"delvx":
        return [b"EVAL", DELETE_IF, 1, args[1], args[2]]
    return list(args)


class Applier:
    def __init__(self, redis, apart):
        self._redis, self._apart = redis, apart
        self._last = int(redis.call([("CONFIG", "GET", "databases")])[0][1]) - 1
        redis.call([("SELECT", self._last)])
        stored = redis.call([("HGETALL", STATE)])[0]
        pairs = zip(stored[::2], stored[1::2])
        self._position = {db.decode(): tuple(map(int, text.split(b":"))) for db, text in pairs}
        self._batch = []  # What goes into the next transaction.
        self.counts = {"applied": 0, "skipped": 0, "refused": 0}

    def databases(self, db, data_type):
        """The Redis databases that a command on this type acts on."""
        number = int(db.removeprefix("db"))
        if not self._apart:
            return [number]
        wanted = TYPES if data_type not in TYPES else (data_type,)
        return [number * len(TYPES) + TYPES.index(name) for name in wanted]

    def take(self, event, position):
        db = event["db"]
        last = self._position.get(db, (0, 0, 0, 0))
        if position <= last:
            self.counts["skipped"] += 1
            return
        if max(self.databases(db, None)) >= self._last:
            raise SystemExit(f"{db} does not fit: start the Redis with more `databases`, or use --types together")
        copy = event.get("snapshot")
        if copy and copy["id"] != last[2]:
            self._everywhere(db, None, [b"FLUSHDB"])  # A copy is whole: what is not in it is not there.
        args = [base64.b64decode(word) for word in event["args_b64"]]
        self._apply(db, event["data_type"], args, event["ts_ms"])
        self._position[db] = position
        self._batch += [("SELECT", self._last), ("HSET", STATE, db, ":".join(map(str, position)))]
        self.counts["applied"] += 1
        if len(self._batch) >= BATCH:
            self.flush()

    def _apply(self, db, data_type, args, ts_ms):
        op = args[0].lower()
        if op in (b"flushdb", b"flushall"):
            kinds = {b"kv": "string"}
            wanted = args[1].lower() if op == b"flushdb" and len(args) > 1 else b""
            self._everywhere(db, kinds.get(wanted, wanted.decode()), [b"FLUSHDB"])
        elif op == b"pkpatternmatchdel":
            self._delete_matching(db, args[2].decode().lower() if len(args) > 2 else "", args[1])
        elif op == b"slotsmgrt-exec-wrapper":
            pass
        else:
            self._everywhere(db, data_type, translate(args, ts_ms))

    def _everywhere(self, db, data_type, command):
        for number in self.databases(db, data_type):
            self._batch += [("SELECT", number), command]

    def _delete_matching(self, db, data_type, pattern):
        self.flush()
        for number in self.databases(db, data_type):
            keys = self._redis.call([("SELECT", number), ("KEYS", pattern)])[1]
            self._batch += [("SELECT", number), *(("DEL", key) for key in keys)]

    def flush(self):
        if not self._batch:
            return
        answers = self._redis.call([("MULTI",), *self._batch, ("EXEC",)])
        if isinstance(answers[-1], Redis.Refused):
            raise SystemExit(f"nothing of the last {len(self._batch)} commands was applied: {answers[-1]}: "
                             f"{next((a for a in answers if isinstance(a, Redis.Refused)), '')}")
        for command, answer in zip(self._batch, answers[-1]):
            if isinstance(answer, Redis.Refused):
                self.counts["refused"] += 1  # As Pika refused it: the command was logged all the same.
                print(f"refused: {command[:2]}: {answer}", file=sys.stderr)
        self._batch.clear()


def to_pika(redis, events, behind):
    """Writes what lies above `behind` as it was logged, in the order of its positions."""
    above = {}
    for event, position in events:
        if event["event_type"] == "binlog" and position > behind:
            above[position] = event
    database = None
    for position in sorted(above):
        event = above[position]
        commands = [[base64.b64decode(word) for word in event["args_b64"]]]
        if event["db"] != database:
            database = event["db"]
            commands.insert(0, ("SELECT", database.removeprefix("db")))
        for answer in redis.call(commands):
            if isinstance(answer, Redis.Refused):
                raise SystemExit(f"the Pika refused the event at {position[0]}:{position[1]}: {answer}")
    return {"applied": len(above)}


def read_events(lines):
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            at = None
            if "stream" in event:  # lockstep-reorder's line: the event is the record's value.
                at = tuple(map(int, event["at"].split(":"))) if event.get("at") else None
                event = json.loads(event["value"])
            yield event, (at + (0, 0))[:4] if at else position_of(event)
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"line {number} is not an event of a Pika source ({error!r}): {line[:120]!r}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--redis", metavar="HOST:PORT")
    target.add_argument("--to-pika", metavar="HOST:PORT")
    parser.add_argument("--types", choices=("apart", "together"), default="apart")
    parser.add_argument("--behind", default="0:0", metavar="FILENUM:OFFSET")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.stdin.close())
    events = read_events(sys.stdin)
    if options.to_pika:
        filenum, offset = map(int, options.behind.split(":"))
        print(json.dumps(to_pika(Redis(options.to_pika), events, (filenum, offset, 0, 0))))
        return
    applier = Applier(Redis(options.redis), options.types == "apart")
    for event, position in events:
        applier.take(event, position)
    applier.flush()
    print(json.dumps(applier.counts))


if __name__ == "__main__":
    main()
