#!/usr/bin/env python3
"""DuckDB over the NDJSON file as one batch, two threads; rows are counted, nothing is kept. Usage: see peer.py; with a third
argument "parquet" over the same rows in Parquet.

Besides Q1 to Q4 it knows "ingest", which only parses and counts, and "Q4 joined", in which a gap of exactly five seconds joins.
"""
import sys
import time

import duckdb

from batch_sql import query
from peer import COLUMNS, report

TYPES = {"text": "VARCHAR", "integer": "BIGINT", "double": "DOUBLE"}
TEXTS = {"ingest": "FROM rows", "Q4 joined": query("Q4", "//").replace("< 5000", "<= 5000")}


def source(folder):
    """The rows, as DuckDB reads them."""
    quoted = lambda name: "'" + str(folder / name).replace("'", "''") + "'"
    if sys.argv[3:] == ["parquet"]:
        return f"read_parquet({quoted('sensors.parquet')})"
    types = ", ".join(f"{column}: '{TYPES[kind]}'" for column, kind in COLUMNS.items())
    return f"read_json({quoted('sensors.ndjson')}, format = 'newline_delimited', columns = {{{types}}})"


def measure(folder, name):
    database = duckdb.connect()
    database.execute("SET threads = 2")
    database.execute("SET enable_progress_bar = false")
    database.execute(f"CREATE VIEW rows AS FROM {source(folder)}")
    before = time.monotonic()
    text = TEXTS.get(name) or query(name, "//")
    # Every column is counted: what nobody looks at, DuckDB does not compute.
    rows = database.execute(f"SELECT count(columns(*)) FROM ({text})").fetchone()[0]
    return time.monotonic() - before, rows


report(measure, duckdb.__version__)
