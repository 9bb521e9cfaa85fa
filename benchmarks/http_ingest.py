#!/usr/bin/env python3
"""Measures what a row costs the server that comes in through HTTP as NDJSON: the CPU time of the server's process alone, with
JSON, journal, sync and sealing, beside the fastest Rust JSON readers on the same bytes in the same run.

usage: http_ingest.py --thermocline BINARY --json-peers BINARY --input FILE [--rows 10000000] [--runs 3] [--output FILE]

The peers are built with `cargo build --release --manifest-path benchmarks/json/Cargo.toml`, FILE by workload.py. Clients run in
processes of their own, their cost is in no figure. Every request is acknowledged after `fdatasync`.

The target counts from the fastest reader alone on an idle machine. While the server runs every processor is busy, with its own
threads and the clients, and two hyperthreads share a core: the same work then takes more CPU time. How much more, the readers
show with one of them on each processor at once; those figures stand beside the target and do not change it.
"""
import argparse
import http.client
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from machine import SENSORS, Server, median, report, write


def batches(path, rows, batch_rows):
    """Byte ranges of the input, so many lines each."""
    ranges, start, end, lines = [], 0, 0, 0
    with open(path, "rb") as file:
        for line in file:
            end += len(line)
            lines += 1
            if lines % batch_rows == 0 or lines == rows:
                ranges.append((start, end))
                start = end
            if lines == rows:
                return ranges
    sys.exit(f"{path} has only {lines} rows")


def send(path, host, port, ranges, answers):
    """A client: one connection, one request at a time."""
    connection, accepted = http.client.HTTPConnection(host, port, timeout=120), 0
    with open(path, "rb") as file:
        for start, end in ranges:
            file.seek(start)
            body = file.read(end - start)
            while True:
                connection.request("POST", "/v1/streams/sensors", body, {"content-type": "application/x-ndjson"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    accepted += int(re.search(rb'"accepted":(\d+)', text).group(1))
                    break
                if answer.status not in (429, 503):
                    sys.exit(f"{answer.status}: {text.decode()}")
                time.sleep(0.02)
    answers.put(accepted)


def ingest(options, folder, ranges, connections):
    """One run: figures of the server."""
    server = Server(options.thermocline, folder, SENSORS)
    answers = multiprocessing.Queue()
    clients = [
        multiprocessing.Process(target=send, args=(options.input, server.host, server.port, ranges[n::connections], answers))
        for n in range(connections)
    ]
    cpu, started = server.cpu_seconds(), time.monotonic()
    for client in clients:
        client.start()
    accepted = sum(answers.get() for _ in clients)
    seconds = time.monotonic() - started
    for client in clients:
        client.join()
    # Sealing is behind the acknowledgements: what is due now belongs to the cost.
    sealed = -1
    while sealed != (sealed := server.metric("thermocline_log_sealed_rows_total")):
        time.sleep(1)
    cpu = server.cpu_seconds() - cpu
    if accepted != options.rows:
        sys.exit(f"{accepted} rows accepted, expected {options.rows}")
    threads, share = server.threads_cpu_seconds(), sealed / options.rows
    if share:
        # What stays in the tail at the end would have been sealed at the same cost.
        cpu += threads.get("thermocline-sea", 0) * (1 / share - 1)
    figures = {
        "seconds": round(seconds, 3),
        "server_cpu_ns_per_row": round(cpu / options.rows * 1e9, 1),
        "sealed_share": round(share, 3),
        "threads_cpu_seconds": threads,
        "memory_mib": server.memory_mib(),
    }
    server.stop()
    return figures


def peers(options, processes):
    """CPU nanoseconds a row of each JSON reader, the mean over so many processes that run at once."""
    command = [options.json_peers, options.input, "1000000"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    figures = {}
    for process in running:
        out, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{options.json_peers}: exit status {process.returncode}")
        rows = (re.match(r"(.+?)\s{2,}([\d.]+)\s", line) for line in out.splitlines()[2:])
        for row in rows:
            if row and row.group(1) != "counting lines":
                figures.setdefault(row.group(1), []).append(float(row.group(2)))
    return {reader: round(sum(each) / len(each), 1) for reader, each in figures.items()}


def fastest_peer(readers):
    """The fastest reader that is not our own, and its figure."""
    return min(((name, ns) for name, ns in readers.items() if name != "thermocline"), key=lambda reader: reader[1])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--thermocline", required=True, type=pathlib.Path)
    arguments.add_argument("--json-peers", required=True, type=pathlib.Path)
    arguments.add_argument("--input", required=True, type=pathlib.Path)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--connections", type=int, nargs="+", default=[8])
    arguments.add_argument("--batch-rows", type=int, nargs="+", default=[1_000, 10_000])
    arguments.add_argument("--folder", type=pathlib.Path, help="where the data directories are made")
    arguments.add_argument("--output", type=pathlib.Path)
    options = arguments.parse_args()
    readers, busy_readers = peers(options, 1), peers(options, os.cpu_count())
    (fastest, fastest_ns), (busy_fastest, busy_fastest_ns) = fastest_peer(readers), fastest_peer(busy_readers)
    results = []
    for batch_rows in options.batch_rows:
        ranges = batches(options.input, options.rows, batch_rows)
        for connections in options.connections:
            runs = []
            for _ in range(options.runs):
                with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                    runs.append(ingest(options, pathlib.Path(folder), ranges, connections))
            cost = median(run["server_cpu_ns_per_row"] for run in runs)
            results.append({
                "batch_rows": batch_rows, "connections": connections, "server_cpu_ns_per_row": cost,
                "times_fastest_peer": round(cost / fastest_ns, 2),
                "times_fastest_peer_all_processors_busy": round(cost / busy_fastest_ns, 2),
                "times_own_decoder": round(cost / readers["thermocline"], 2),
                "target": "at most 1.6 times the fastest reader alone", "runs": runs,
            })
            print(batch_rows, connections, {k: v for k, v in results[-1].items() if k != "runs"}, file=sys.stderr, flush=True)
    write(report(options.thermocline, rows=options.rows, json_cpu_ns_per_row=readers, fastest_peer=fastest,
                 json_cpu_ns_per_row_all_processors_busy=busy_readers, fastest_peer_all_processors_busy=busy_fastest,
                 results=results), options.output)


if __name__ == "__main__":
    main()
