"""Compares a Delta table with the rows it must hold, by the deltalake package.

Usage: archive_deltalake.py TABLE EXPECTED_PARQUET. Prints how many rows it has and whether they are the same.
"""

import json
import sys

import pyarrow
import pyarrow.parquet
from deltalake import DeltaTable

location, expected = sys.argv[1:]
expected = pyarrow.parquet.read_table(expected)
table = DeltaTable(location)
archive = pyarrow.table(table.to_pyarrow_table()).select(expected.column_names).cast(expected.schema)
order = [(name, "ascending") for name in expected.column_names]
same = archive.sort_by(order).combine_chunks() == expected.sort_by(order).combine_chunks()
print(json.dumps({"rows": archive.num_rows, "same": same}))
