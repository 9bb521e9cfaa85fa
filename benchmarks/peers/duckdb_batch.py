#!/usr/bin/env python3
"""DuckDB over the NDJSON file as one batch, two threads; rows are counted, nothing is kept. Usage: see peer.py.

Besides Q1 to Q4 it knows "ingest", which only parses and counts, and "Q4 joined", in which a gap of exactly five seconds joins.
"""
import time

import duckdb

from batch_sql import query
from peer import COLUMNS, report

TYPES = {"text": "VARCHAR", "integer": "BIGINT", "double": "DOUBLE"}
TEXTS = {"ingest": "FROM rows", "Q4 joined": query("Q4", "//").replace("< 5000", "<= 5000")}


def measure(folder, name):
    database = duckdb.connect()
    database.execute("SET threads = 2")
    database.execute("SET enable_progress_bar = false")
    types = ", ".join(f"{column}: '{TYPES[kind]}'" for column, kind in COLUMNS.items())
    path = str(folder / "sensors.ndjson").replace("'", "''")
    source = f"CREATE VIEW rows AS FROM read_json('{path}', format = 'newline_delimited', columns = {{{types}}})"
    database.execute(source)
    before = time.monotonic()
    text = TEXTS.get(name) or query(name, "//")
    # Every column is counted: what nobody looks at, DuckDB does not compute.
    rows = database.execute(f"SELECT count(columns(*)) FROM ({text})").fetchone()[0]
    return time.monotonic() - before, rows


report(measure, duckdb.__version__)
