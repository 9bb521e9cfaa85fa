"""Compares a Delta table with the rows it must hold, by DuckDB's delta_scan.

Usage: archive_duckdb.py TABLE EXPECTED_PARQUET. Prints how many rows it has, how many of them are too many, and how many
are missing; each row counts as often as it is there.
"""

import json
import sys

import duckdb
import duckdb_extensions

duckdb_extensions.import_extension("delta")

table, expected = sys.argv[1:]
database = duckdb.connect()
database.execute("LOAD delta")
columns = [name for name, *_ in database.execute("DESCRIBE SELECT * FROM read_parquet(?)", [expected]).fetchall()]
listed = ", ".join(f"epoch_us({name})" if name in ("ts", "timestamp") else name for name in columns)
database.execute(f"CREATE TABLE archive AS SELECT {listed} FROM delta_scan('{table}')")
database.execute(f"CREATE TABLE expected AS SELECT {listed} FROM read_parquet('{expected}')")


def count(query):
    return database.execute(f"SELECT count(*) FROM ({query})").fetchone()[0]


print(
    json.dumps(
        {
            "rows": count("FROM archive"),
            "surplus": count("FROM archive EXCEPT ALL FROM expected"),
            "missing": count("FROM expected EXCEPT ALL FROM archive"),
        }
    )
)
