#!/usr/bin/env python3
"""Times whole runs of thermocline on the sensor workload, with peers and the machine's limits measured in the same run.

usage: end_to_end.py --thermocline BINARY [--rows 10000000] [--runs 5] [--folder DIR] [--output FILE]

Each run starts the process on an empty data directory, reads the NDJSON file through the file connector, makes every row
durable, runs the query continuously (watermarks, panes, checkpoints), stores its result durably in a stream, and ends when
all of that is done: the time is that of the process, from start to exit. DuckDB reads the same file as one batch and keeps
nothing. Needs the packages of scripts/requirements.txt.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from machine import report as described

HERE = pathlib.Path(__file__).resolve().parent

STREAM = """
CREATE STREAM sensors (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, pressure DOUBLE, vibration DOUBLE, status TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2, connector = 'file', path = '{path}', format = 'ndjson');
"""

QUERIES = {
    "Q1": (
        """
        CREATE STREAM result (window_start TIMESTAMP, device_id TEXT, n BIGINT, mean DOUBLE, low DOUBLE, high DOUBLE);
        INSERT INTO result
        SELECT window_start, device_id, count(*), avg(temperature), min(temperature), max(temperature)
        FROM TUMBLE(sensors, ts, INTERVAL '10 seconds') GROUP BY device_id, window_start, window_end;
        """,
        """
        SELECT count(*) FROM (
            SELECT device_id, ts // 10000 AS w, count(*), avg(temperature), min(temperature), max(temperature)
            FROM {input} GROUP BY 1, 2)
        """,
        100_000,
    ),
    "Q2": (
        """
        CREATE STREAM result (window_end TIMESTAMP, device_id TEXT, mean DOUBLE, spread DOUBLE, high DOUBLE);
        INSERT INTO result
        SELECT window_end, device_id, avg(temperature), stddev(temperature), max(temperature)
        FROM HOP(sensors, ts, INTERVAL '10 seconds', INTERVAL '60 seconds')
        GROUP BY device_id, window_start, window_end
        HAVING max(temperature) > avg(temperature) + 3 * stddev(temperature);
        """,
        """
        SELECT count(*) FROM (
            SELECT device_id, ts // 10000 - hop AS w, avg(temperature) a, stddev(temperature) s, max(temperature) m
            FROM {input}, range(6) h(hop) GROUP BY 1, 2 HAVING max(temperature) > avg(temperature) + 3 * stddev(temperature))
        """,
        45_200,
    ),
    "Q3": (
        """
        CREATE STREAM result (device_id TEXT, ts TIMESTAMP, temperature DOUBLE);
        INSERT INTO result SELECT device_id, ts, temperature FROM sensors WHERE temperature > 85;
        """,
        "SELECT count(*) FROM (SELECT device_id, ts, temperature FROM {input} WHERE temperature > 85)",
        57_067,
    ),
    "ingest": ("", "SELECT count(*) FROM {input}", None),
}

COLUMNS = "{device_id: 'VARCHAR', ts: 'BIGINT', temperature: 'DOUBLE', pressure: 'DOUBLE', vibration: 'DOUBLE', status: 'VARCHAR'}"


def timed(command):
    """Seconds, peak resident MiB and CPU seconds of a process."""
    before = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command}: exit status {status}\n{error.decode()}")
    return time.monotonic() - before, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def thermocline(binary, folder, name, expected, rows):
    data, pipeline = folder / "data", folder / f"{name}.sql"
    shutil.rmtree(data, ignore_errors=True)
    pipeline.write_text(STREAM.format(path=folder / "sensors.ndjson") + QUERIES[name][0])
    seconds, resident, cpu = timed([binary, "run", pipeline, "--data-dir", data, "--listen", "127.0.0.1:0", "--exit-when-done"])
    table = "result" if expected is not None else "sensors"
    answer = subprocess.run(
        [binary, "sql", "--data-dir", data, "--format", "csv", f"SELECT count(*) FROM {table}"],
        capture_output=True, text=True, check=True)
    found = int(answer.stdout.split()[-1])
    wanted = rows if expected is None else expected
    if wanted != -1 and found != wanted:
        sys.exit(f"{name}: {found} result rows, expected {wanted}")
    size = sum(f.stat().st_size for f in data.rglob("*") if f.is_file() and f.suffix == ".parquet")
    return {"seconds": seconds, "resident_mib": resident, "cpu_seconds": cpu, "segment_bytes": size}


def duckdb_batch(folder, name):
    """DuckDB on the same file in a process of its own; the query's time without the process's start."""
    script = (
        "import duckdb,time,sys; c=duckdb.connect(); c.execute('SET threads=2'); c.execute('SET enable_progress_bar=false'); t=time.monotonic(); "
        "n=c.execute(sys.argv[1]).fetchone()[0]; print(time.monotonic()-t, n)"
    )
    source = f"read_json('{folder / 'sensors.ndjson'}', format='newline_delimited', columns={COLUMNS})"
    query = QUERIES[name][1].format(input=source)
    out = subprocess.run([sys.executable, "-c", script, query], capture_output=True, text=True, check=True).stdout.split()
    return float(out[-2])


def disk_write_mb_per_s(folder):
    """Sequential write of 1 GiB, 1 MiB at a time, one sync at the end."""
    block, path = os.urandom(1 << 20), folder / "write-limit"
    before = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(1024):
            file.write(block)
        os.fdatasync(file.fileno())
    seconds = time.monotonic() - before
    path.unlink()
    return 1024 * 1.048576 / seconds


def count_lines(path):
    before = time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 22):
            chunk.count(b"\n")
    return time.monotonic() - before


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--thermocline", required=True, type=pathlib.Path)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("benchmark-data"))
    arguments.add_argument("--output", type=pathlib.Path)
    options = arguments.parse_args()
    folder = options.folder.resolve()
    input_file = folder / "sensors.ndjson"
    if not input_file.exists():
        subprocess.run([sys.executable, HERE / "workload.py", folder, str(options.rows)], check=True)
    if options.rows != 10_000_000:
        for name, (pipeline, batch, expected) in QUERIES.items():
            # The right answers are known for the full workload only; a smaller one is for trying the script.
            QUERIES[name] = (pipeline, batch, expected and -1)
    results = {name: {"thermocline": [], "duckdb_seconds": []} for name in QUERIES}
    limits = {"disk_write_mb_per_s": [], "count_lines_seconds": []}
    for run in range(options.runs):
        limits["disk_write_mb_per_s"].append(disk_write_mb_per_s(folder))
        limits["count_lines_seconds"].append(count_lines(input_file))
        for name, (_, _, expected) in QUERIES.items():
            results[name]["thermocline"].append(thermocline(options.thermocline, folder, name, expected, options.rows))
            results[name]["duckdb_seconds"].append(duckdb_batch(folder, name))
            print(run, name, results[name]["thermocline"][-1], results[name]["duckdb_seconds"][-1], flush=True)
    shutil.rmtree(folder / "data", ignore_errors=True)
    import duckdb
    report = {
        **described(options.thermocline),
        "rows": options.rows,
        "input_bytes": input_file.stat().st_size,
        "limits": limits,
        "results": results,
        "medians": {
            name: {
                "thermocline_seconds": statistics.median(r["seconds"] for r in result["thermocline"]),
                "thermocline_cpu_seconds": statistics.median(r["cpu_seconds"] for r in result["thermocline"]),
                "thermocline_resident_mib": statistics.median(r["resident_mib"] for r in result["thermocline"]),
                "duckdb_seconds": statistics.median(result["duckdb_seconds"]),
            }
            for name, result in results.items()
        },
    }
    report["versions"]["duckdb"] = duckdb.__version__
    text = json.dumps(report, indent=1)
    if options.output:
        options.output.write_text(text + "\n")
    print(json.dumps(report["medians"], indent=1))


if __name__ == "__main__":
    main()
