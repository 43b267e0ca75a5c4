"""The business whose instructions must not be lost: two tables in the replicated database, one JSON-lines file.

Writers are psql processes that commit transactions of random size, two a table at once, some of them slow to commit.
What a writer was told is committed is on record; every value is unique.
"""

import json
import subprocess
from pathlib import Path

from checker import SourceRow

TABLES = {"A": "instructions_a", "B": "instructions_b"}
FILE_PRODUCER, FILE_NAME = "C", "instructions_c.jsonl"
SCHEMA = "".join(
    f"create table {table} (id bigserial primary key, key text, value text not null);\n" for table in TABLES.values()
)


def source_spec(producer):
    """What --source says, the same words at both sites; the file is named relative to the site's own directory."""
    if producer == FILE_PRODUCER:
        return f"jsonl:{FILE_NAME}"
    return f"table:public.{TABLES[producer]}?id=id&value=value&key=key"


def _chunk_value(chunk, number):
    return f"{chunk}/{number}/" + "0123456789" * (number % 15)


class TableWriter:
    """Writes `rows` rows into a producer's table through one connection, over roughly `seconds`."""

    def __init__(self, processes, producer, label, conninfo, rows, seconds, rng):
        self.producer, self.name, self._processes = producer, f"writer_{producer}_{label}", processes
        self._chunks = {}
        script = ["\\set ON_ERROR_STOP 1"]
        sizes = []
        while rows > 0:
            sizes.append(min(rows, rng.choice((1, 7, 100, 400, 1500))))
            rows -= sizes[-1]
        for index, size in enumerate(sizes):
            chunk = f"{producer}/{label}/{index}"
            self._chunks[chunk] = size
            pause = rng.random() * 2 * seconds / len(sizes)
            script.append(
                "begin; "
                f"insert into {TABLES[producer]} (key, value) select 'k' || i % 97, "
                f"'{chunk}/' || i || '/' || repeat('0123456789', i % 15) from generate_series(1, {size}) i; "
                f"select pg_sleep({pause:.4f}); commit;\n\\echo committed {chunk}"
            )
        script_file = processes.directory / f"{self.name}.sql"
        script_file.write_text("\n".join(script) + "\n")
        self._output = processes.directory / f"{self.name}.out"
        with open(self._output, "w") as output:
            processes.spawn(self.name, ["psql", "-XAtq", "-d", conninfo, "-f", script_file], stdout=output)

    def ended(self):
        return self._processes.exit_code(self.name) is not None

    def acknowledged(self):
        """The values whose commit was acknowledged; complete once the writer has ended."""
        lines = self._output.read_text().splitlines()
        chunks = [line.removeprefix("committed ") for line in lines if line.startswith("committed ")]
        return [_chunk_value(chunk, number) for chunk in chunks for number in range(1, self._chunks[chunk] + 1)]


def append_to_file(path, label, count):
    """Appends `count` instructions to a JSON-lines file: with and without key, with a header, beyond ASCII."""
    with open(path, "a", encoding="utf-8") as file:
        for number in range(1, count + 1):
            line = {"value": f"{FILE_PRODUCER}/{label}/{number}/é\"\\{'y' * (number % 120)}"}
            if number % 3:
                line |= {"key": f"k{number % 97}", "headers": {"n": str(number)}}
            file.write(json.dumps(line, ensure_ascii=number % 2 == 0) + "\n")


def source_rows(conninfo, site_directory):
    """Everything that the business has written, {producer: [SourceRow, …] in source order}."""
    rows = {}
    for producer, table in TABLES.items():
        query = f"copy (select id, key, value from {table} order by id) to stdout with (format csv, null '\\N', delimiter e'\\x1f', quote e'\\x1e')"
        text = subprocess.run(["psql", "-XAtq", "-d", conninfo, "-c", query], capture_output=True, text=True, check=True).stdout
        rows[producer] = [SourceRow(*line.split("\x1f")) for line in text.splitlines()]
    lines = Path(site_directory, FILE_NAME).read_text(encoding="utf-8").splitlines()
    parsed = enumerate(map(json.loads, lines), start=1)
    rows[FILE_PRODUCER] = [SourceRow(str(number), line.get("key"), line["value"]) for number, line in parsed]
    return rows
