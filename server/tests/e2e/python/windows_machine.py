"""What DuckDB computes from the machine's CSV: hourly rows, and the events of the example's alert.

Usage: windows_machine.py CSV
"""

import json
import sys

import duckdb

from common import alert_events, iso

HOUR, STEP = 3_600_000_000, 900_000_000

database = duckdb.connect()
database.execute(
    "CREATE TABLE machine AS SELECT epoch_us(timestamp) AS us, value FROM read_csv(?, header = true, "
    "columns = {timestamp: 'TIMESTAMP', value: 'DOUBLE'})",
    [sys.argv[1]],
)

hourly = database.execute(
    f"""
    SELECT us // {HOUR} * {HOUR} AS ts, count(*), avg(value), min(value), max(value)
    FROM machine GROUP BY ALL ORDER BY ALL
    """
).fetchall()
for ts, readings, average, low, high in hourly:
    row = dict(ts=iso(ts), readings=readings, avg_temperature=average, min_temperature=low, max_temperature=high)
    print(json.dumps({"hourly": row}))

# Every row belongs to the four windows that begin at or before it, a step apart.
hops = database.execute(
    f"""
    SELECT us // {STEP} * {STEP} - step * {STEP} + {HOUR} AS window_end, min(value), max(value)
    FROM machine, range(4) AS steps(step) GROUP BY ALL ORDER BY ALL
    """
).fetchall()
events = alert_events(
    [("machine-1", window_end, (low, high)) for window_end, low, high in hops],
    raise_when=lambda low, high: high < 66,
    clear_when=lambda low, high: low > 76,
    hold_us=11 * HOUR,
)
for ts, key, action in events:
    print(json.dumps({"alert": {"ts": iso(ts), "key": {"machine": key}, "action": action}}))
