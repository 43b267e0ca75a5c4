#!/usr/bin/python3
"""A consumer for `lockstep-reorder --sink 'exec:consumer.py OUTBOX'`: appends each record's value to a file.

It answers what it got at once, one line for all of it, and only when the file is on disk: what was answered is not sent again.
"""

import json
import os
import sys

with open(sys.argv[1], "a") as outbox:
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        if not lines:
            continue
        for line in lines:
            record = json.loads(line)
            if "value_b64" in record:  # Bytes that are no text.
                outbox.write(f"base64 {record['value_b64']}\n")
            elif record["value"] is not None:  # Else a tombstone: nothing to keep.
                outbox.write(f"{record['value']}\n")
        outbox.flush()
        os.fsync(outbox.fileno())
        print(json.dumps({"stream": record["stream"], "done": f"{record['epoch']}:{record['offset']}"}), flush=True)
