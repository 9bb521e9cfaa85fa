#!/usr/bin/env python3
"""DataFusion over the NDJSON file as one batch, two partitions; rows are counted, nothing is kept. Usage: see peer.py."""
import time

import datafusion
import pyarrow

from batch_sql import query
from peer import COLUMNS, report

TYPES = {"text": pyarrow.string(), "integer": pyarrow.int64(), "double": pyarrow.float64()}


def measure(folder, name):
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(2))
    schema = pyarrow.schema([(column, TYPES[kind]) for column, kind in COLUMNS.items()])
    context.register_json("rows", str(folder / "sensors.ndjson"), schema=schema, file_extension=".ndjson")
    before = time.monotonic()
    rows = sum(batch.to_pyarrow().num_rows for batch in context.sql(query(name, "/")).execute_stream())
    return time.monotonic() - before, rows


report(measure, datafusion.__version__)
