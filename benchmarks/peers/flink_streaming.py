#!/usr/bin/env python3
"""Flink SQL, streaming, over the NDJSON file, parallelism 2, no checkpoints. Usage: see peer.py.

The time is that of the job as Flink gives it, without the start of Python, of the Java runtime and of planning. Results go to
CSV files, where they are counted. A gap of exactly five seconds joins two sessions of Flink, not two of the others: Q4 has a
few less.
"""
import pathlib
import tempfile

from pyflink.table import EnvironmentSettings, TableEnvironment
from pyflink.version import __version__

from peer import columns, note_memory, report

SECONDS_10, SECONDS_60 = "INTERVAL '10' SECOND", "INTERVAL '60' SECOND"
QUERIES = {
    "Q1": (
        "w TIMESTAMP(3), device_id STRING, n BIGINT, mean DOUBLE, low DOUBLE, high DOUBLE",
        f"""SELECT window_start, device_id, count(*), avg(temperature), min(temperature), max(temperature)
        FROM TABLE(TUMBLE(TABLE sensors, DESCRIPTOR(event_time), {SECONDS_10})) GROUP BY device_id, window_start, window_end""",
    ),
    "Q2": (
        "w TIMESTAMP(3), device_id STRING, mean DOUBLE, spread DOUBLE, high DOUBLE",
        f"""SELECT window_end, device_id, avg(temperature), stddev_samp(temperature), max(temperature)
        FROM TABLE(HOP(TABLE sensors, DESCRIPTOR(event_time), {SECONDS_10}, {SECONDS_60})) GROUP BY device_id, window_start, window_end
        HAVING max(temperature) > avg(temperature) + 3 * stddev_samp(temperature)""",
    ),
    "Q3": (
        "device_id STRING, ts BIGINT, temperature DOUBLE",
        "SELECT device_id, ts, temperature FROM sensors WHERE temperature > 85",
    ),
    "Q4": (
        "device_id STRING, status STRING, began TIMESTAMP(3), n BIGINT",
        """SELECT device_id, status, window_start, count(*)
        FROM TABLE(SESSION(TABLE sensors PARTITION BY (device_id, status), DESCRIPTOR(event_time), INTERVAL '5' SECOND))
        GROUP BY device_id, status, window_start, window_end""",
    ),
}
TYPES = {"text": "STRING", "integer": "BIGINT", "double": "DOUBLE"}


def measure(folder, name):
    flink = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    flink.get_config().set("parallelism.default", "2")
    flink.execute_sql(f"""CREATE TABLE sensors ({columns(TYPES)},
        event_time AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR event_time AS event_time - INTERVAL '2' SECOND)
        WITH ('connector' = 'filesystem', 'path' = '{(folder / "sensors.ndjson").as_uri()}', 'format' = 'json')""")
    with tempfile.TemporaryDirectory() as output:
        answer, select = QUERIES[name]
        flink.execute_sql(f"""CREATE TABLE answers ({answer})
            WITH ('connector' = 'filesystem', 'path' = '{pathlib.Path(output).as_uri()}', 'format' = 'csv')""")
        inserted = flink.execute_sql(f"INSERT INTO answers {select}")
        inserted.wait()
        note_memory()
        milliseconds = inserted.get_job_client().get_job_execution_result().result().get_net_runtime()
        files = [path for path in pathlib.Path(output).rglob("*") if path.is_file()]
        rows = sum(path.read_bytes().count(b"\n") for path in files)
    return milliseconds / 1000, rows


report(measure, __version__)
