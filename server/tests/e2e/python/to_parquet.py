"""Writes rows that `thermocline sql --format json` printed as Parquet, their times as instants.

Usage: to_parquet.py ROWS_JSON TIME_COLUMN PARQUET
"""

import sys

import duckdb

source, time, target = sys.argv[1:]
duckdb.execute(
    f"COPY (SELECT * REPLACE ({time}::TIMESTAMPTZ AS {time}) FROM read_json('{source}', format = 'newline_delimited')) "
    f"TO '{target}' (FORMAT parquet)"
)
