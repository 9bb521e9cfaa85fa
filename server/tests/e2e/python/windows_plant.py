"""What DuckDB computes from the plant's readings: the series, and the events of the example's alert.

Usage: windows_plant.py READINGS_JSON DEVICES_CSV
"""

import json
import sys

import duckdb

from common import alert_events, iso

STEP, MINUTE = 10_000_000, 60_000_000

database = duckdb.connect()
database.execute(
    "CREATE TABLE readings AS SELECT epoch_us(ts) AS us, * EXCLUDE (ts) FROM read_json(?, format = 'newline_delimited', "
    "columns = {device_id: 'TEXT', ts: 'TIMESTAMPTZ', temperature: 'DOUBLE', vibration: 'DOUBLE'})",
    [sys.argv[1]],
)
database.execute("CREATE TABLE devices AS SELECT * FROM read_csv(?)", [sys.argv[2]])

series = database.execute(
    f"""
    SELECT us // {STEP} * {STEP} AS ts, device_id, count(*), avg(temperature), max(temperature), max(vibration)
    FROM readings GROUP BY ALL ORDER BY ts, device_id
    """
).fetchall()
for ts, device, readings, average, temperature, vibration in series:
    row = dict(ts=iso(ts), device_id=device, readings=readings)
    row |= dict(avg_temperature=average, max_temperature=temperature, max_vibration=vibration)
    print(json.dumps({"series": row}))

hops = database.execute(
    f"""
    SELECT device_id, us // {STEP} * {STEP} - step * {STEP} + {MINUTE} AS window_end, max(temperature), max_temperature
    FROM readings JOIN devices USING (device_id), range(6) AS steps(step) GROUP BY ALL ORDER BY window_end
    """
).fetchall()
events = alert_events(
    [(device, window_end, (peak, limit)) for device, window_end, peak, limit in hops],
    raise_when=lambda peak, limit: peak > limit,
    clear_when=lambda peak, limit: peak < limit - 2,
    hold_us=10_000_000,
)
for ts, key, action in events:
    print(json.dumps({"alert": {"ts": iso(ts), "key": {"device_id": key}, "action": action}}))
