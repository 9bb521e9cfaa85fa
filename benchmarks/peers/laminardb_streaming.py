#!/usr/bin/env python3
"""LaminarDB over rows that are in memory as Arrow already: nothing is parsed, nothing is durable. Usage: see peer.py.

It takes some of the rows at a time, and drops those of them that are behind the last by more than the watermark's delay: answers
are wrong, also where their number is right. The rows in them are therefore counted too (`counted`).
"""
import sys
import time

import laminardb
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from peer import columns, report

BATCH_ROWS = 8_192
TYPES = {"text": "VARCHAR", "integer": "BIGINT", "double": "DOUBLE"}
TEMPERATURE = "avg(temperature) AS mean, min(temperature) AS low, max(temperature) AS high"
QUERIES = {
    "Q1": f"""SELECT tumble(ts, INTERVAL '10' SECOND) AS w, device_id, count(*) AS n, {TEMPERATURE}
        FROM sensors GROUP BY device_id, tumble(ts, INTERVAL '10' SECOND) EMIT ON WINDOW CLOSE""",
    "Q2": """SELECT hop(ts, INTERVAL '10' SECOND, INTERVAL '60' SECOND) AS w, device_id, avg(temperature) AS mean,
        stddev(temperature) AS spread, max(temperature) AS high
        FROM sensors GROUP BY device_id, hop(ts, INTERVAL '10' SECOND, INTERVAL '60' SECOND)
        HAVING max(temperature) > avg(temperature) + 3 * stddev(temperature) EMIT ON WINDOW CLOSE""",
    "Q3": "SELECT device_id, ts, temperature FROM sensors WHERE temperature > 85",
    "Q4": """SELECT session(ts, INTERVAL '5' SECOND) AS w, device_id, status, count(*) AS n
        FROM sensors GROUP BY device_id, status, session(ts, INTERVAL '5' SECOND) EMIT ON WINDOW CLOSE""",
}
# Results end when none have come for so long.
SILENCE_SECONDS = 3


class Answers:
    """What the stream of the query gives."""

    def __init__(self, database):
        self.subscription = database.subscribe_stream("answers")
        self.rows, self.counted, self.last = 0, 0, None

    def take(self):
        """Takes what is there; whether there was something."""
        found = self.subscription.try_next()
        if found is None:
            return False
        self.last = time.monotonic()
        self.rows += found.num_rows
        if "n" in found.columns:
            self.counted += pyarrow.compute.sum(found.to_arrow().column("n")).as_py() or 0
        return True

    def take_all(self, asked):
        """Takes until there is silence; when the last came."""
        while time.monotonic() - max(self.last or asked, asked) < SILENCE_SECONDS:
            if not self.take():
                time.sleep(0.001)
        return max(self.last or asked, asked)


def measure(folder, name):
    table = pyarrow.parquet.read_table(folder / "sensors.parquet").combine_chunks()
    batches = table.to_batches(max_chunksize=BATCH_ROWS)
    end = pyarrow.compute.max(table.column("ts")).as_py()
    database = laminardb.open(":memory:", config=laminardb.LaminarConfig(buffer_size=1 << 24))
    database.execute(f"CREATE SOURCE sensors ({columns(TYPES)}, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)")
    database.execute(f"CREATE STREAM answers AS {QUERIES[name]}")
    answers = Answers(database)
    database.start()
    before = time.monotonic()
    for batch in batches:
        database.insert("sensors", batch)
        answers.take()
    streamed = answers.take_all(time.monotonic()) - before
    # All is processed: a row of an hour later closes the last windows.
    last = table.slice(table.num_rows - 1).set_column(1, "ts", pyarrow.array([end + 3_600_000])).to_batches()[0]
    asked = time.monotonic()
    database.insert("sensors", last)
    closed = answers.take_all(asked) - asked
    print(database.metrics(), file=sys.stderr)
    if name in ("Q1", "Q4"):
        return streamed + closed, answers.rows, answers.counted
    return streamed + closed, answers.rows


report(measure, laminardb.__version__)
