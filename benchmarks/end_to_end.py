#!/usr/bin/env python3
"""Times whole runs of thermocline on the sensor workload, with peers and the machine's limits measured in the same run.

usage: end_to_end.py --thermocline BINARY [--peers duckdb,flink,...|all|none] [--only Q1,...] [--rows 10000000] [--runs 5]
                     [--folder DIR] [--output FILE]

Each run starts the process on an empty data directory, reads the NDJSON file through the file connector, makes every row
durable, runs the query continuously (watermarks, panes, checkpoints), stores its result durably in a stream, and ends when
all of that is done: the time is that of the process, from start to exit. The peers run the same queries over the same file
(LaminarDB over rows that are in memory) and keep nothing; of each, peers/ says what its time is. `peers/install` installs them.
The number of result rows of all is compared with the known one, on a smaller workload with DuckDB's.

Making the workload needs the packages of scripts/requirements.txt.
"""
import argparse
import dataclasses
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
        45_200,
    ),
    "Q3": (
        """
        CREATE STREAM result (device_id TEXT, ts TIMESTAMP, temperature DOUBLE);
        INSERT INTO result SELECT device_id, ts, temperature FROM sensors WHERE temperature > 85;
        """,
        57_067,
    ),
    "Q4": (
        """
        CREATE STREAM result (device_id TEXT, status TEXT, began TIMESTAMP, n BIGINT);
        INSERT INTO result
        SELECT device_id, status, window_start, count(*)
        FROM SESSION(sensors, ts, INTERVAL '5 seconds') GROUP BY device_id, status, window_start, window_end;
        """,
        167_970,
    ),
}
# Sessions of systems that join two with a gap of exactly five seconds.
JOINED_SESSIONS = 167_921
FULL_ROWS = 10_000_000


@dataclasses.dataclass
class Peer:
    """A system to compare with: a script of peers/, in the environment that peers/install made."""

    environment: str
    script: str
    queries: tuple = ("Q1", "Q2", "Q3", "Q4")
    joins_at_gap: bool = False

    def run(self, folder, query):
        """What the script gives: seconds, rows, version, resident memory."""
        command = [PEERS / self.environment / "bin" / "python", HERE / "peers" / self.script, folder, query]
        if not command[0].exists():
            sys.exit(f"{self.script} is not installed: benchmarks/peers/install {self.environment}")
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode != 0:
            sys.exit(f"{self.script} {query}: exit status {answer.returncode}\n{answer.stderr}")
        return json.loads(answer.stdout.splitlines()[-1])


PEERS = pathlib.Path(os.environ.get(
    "THERMOCLINE_PEERS", pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "thermocline/peers"))
KNOWN_PEERS = {
    "duckdb": Peer("batch", "duckdb_batch.py", ("ingest", "Q1", "Q2", "Q3", "Q4")),
    "datafusion": Peer("batch", "datafusion_batch.py"),
    "polars": Peer("batch", "polars_batch.py"),
    "flink": Peer("flink", "flink_streaming.py", joins_at_gap=True),
    "spark": Peer("spark", "spark_streaming.py", joins_at_gap=True),
    "laminardb": Peer("laminardb", "laminardb_streaming.py"),
}


def timed(command):
    """Seconds, peak resident MiB and CPU seconds of a process."""
    before = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command}: exit status {status}\n{error.decode()}")
    return time.monotonic() - before, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def expectations(folder, rows, queries):
    """How many rows each query gives: known for the full workload, by DuckDB for another; also where sessions are joined."""
    if rows == FULL_ROWS:
        return {"ingest": rows, "Q4 joined": JOINED_SESSIONS, **{name: expected for name, (_, expected) in QUERIES.items()}}
    reference = KNOWN_PEERS["duckdb"]
    joined = ["Q4 joined"] if "Q4" in queries else []
    return {name: reference.run(folder, name)["rows"] for name in [*queries, *joined]}


def thermocline(binary, folder, name, expected):
    data, pipeline = folder / "data", folder / f"{name}.sql"
    shutil.rmtree(data, ignore_errors=True)
    query, table = (QUERIES[name][0], "result") if name in QUERIES else ("", "sensors")
    pipeline.write_text(STREAM.format(path=folder / "sensors.ndjson") + query)
    seconds, resident, cpu = timed([binary, "run", pipeline, "--data-dir", data, "--listen", "127.0.0.1:0", "--exit-when-done"])
    answer = subprocess.run(
        [binary, "sql", "--data-dir", data, "--format", "csv", f"SELECT count(*) FROM {table}"],
        capture_output=True, text=True, check=True)
    found = int(answer.stdout.split()[-1])
    if found != expected:
        sys.exit(f"{name}: {found} result rows, expected {expected}")
    size = sum(f.stat().st_size for f in data.rglob("*") if f.is_file() and f.suffix == ".parquet")
    return {"seconds": seconds, "resident_mib": resident, "cpu_seconds": cpu, "segment_bytes": size}


def measured(peer, folder, name, expected, rows):
    """A run of a peer, and whether its answer is right."""
    run = peer.run(folder, name)
    wanted = expected["Q4 joined" if name == "Q4" and peer.joins_at_gap else name]
    run["is_right"] = run["rows"] == wanted and run.get("counted") in (None, rows)
    return run


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


def medians(runs):
    """Of thermocline and each peer that was measured."""
    figures = {}
    for system, found in runs.items():
        figures[system] = {key: statistics.median(run[key] for run in found)
                           for key in ("seconds", "cpu_seconds", "resident_mib") if key in found[0]}
        if not all(run.get("is_right", True) for run in found):
            figures[system]["wrong_rows"] = found[-1]["rows"]
    return figures


def table(figures, systems):
    """The medians in seconds, systems beside each other; a wrong answer is marked."""
    lines = [["", *systems]]
    for name, found in figures.items():
        shown = lambda median: f"{median['seconds']:.2f}" + (" wrong" if "wrong_rows" in median else "")
        lines.append([name, *(shown(found[system]) if system in found else "-" for system in systems)])
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)


def options():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--thermocline", required=True, type=pathlib.Path)
    arguments.add_argument("--peers", default="duckdb", help=f"any of {','.join(KNOWN_PEERS)}, or all, or none")
    arguments.add_argument("--only", default="ingest,Q1,Q2,Q3,Q4")
    arguments.add_argument("--rows", type=int, default=FULL_ROWS)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--folder", type=pathlib.Path, help="with a workload of so many rows; made where there is none")
    arguments.add_argument("--output", type=pathlib.Path)
    chosen = arguments.parse_args()
    names = {"all": list(KNOWN_PEERS), "none": []}.get(chosen.peers, chosen.peers.split(","))
    if unknown := set(names) - set(KNOWN_PEERS):
        arguments.error(f"no peers {', '.join(sorted(unknown))}")
    chosen.peers = {name: KNOWN_PEERS[name] for name in names}
    chosen.folder = chosen.folder or pathlib.Path("benchmark-data") / str(chosen.rows)
    return chosen


def main():
    chosen = options()
    folder, queries = chosen.folder.resolve(), chosen.only.split(",")
    input_file = folder / "sensors.ndjson"
    if not input_file.exists():
        subprocess.run([sys.executable, HERE / "workload.py", folder, str(chosen.rows)], check=True)
    expected = expectations(folder, chosen.rows, queries)
    results = {name: {} for name in queries}
    limits = {"disk_write_mb_per_s": [], "count_lines_seconds": []}
    for run in range(chosen.runs):
        limits["disk_write_mb_per_s"].append(disk_write_mb_per_s(folder))
        limits["count_lines_seconds"].append(count_lines(input_file))
        for name, runs in results.items():
            own = thermocline(chosen.thermocline, folder, name, expected[name])
            runs.setdefault("thermocline", []).append(own)
            print(run, name, "thermocline", own, flush=True)
            for system, peer in chosen.peers.items():
                if name in peer.queries:
                    found = measured(peer, folder, name, expected, chosen.rows)
                    runs.setdefault(system, []).append(found)
                    print(run, name, system, found, flush=True)
    shutil.rmtree(folder / "data", ignore_errors=True)
    figures = {name: medians(runs) for name, runs in results.items()}
    report = {
        **described(chosen.thermocline),
        "rows": chosen.rows,
        "input_bytes": input_file.stat().st_size,
        "expected_rows": expected,
        "limits": limits,
        "results": results,
        "medians": figures,
    }
    report["versions"].update({system: runs[system][0]["version"]
                               for runs in results.values() for system in runs if system != "thermocline"})
    if chosen.output:
        chosen.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nseconds, medians of {chosen.runs}")
    print(table(figures, ["thermocline", *chosen.peers]))


if __name__ == "__main__":
    main()
