#!/usr/bin/env python3
"""Measures the memory of a server: idle with an empty pipeline, and under a flood of rows.

usage: memory.py --thermocline BINARY [--input FILE] [--rows 4000000] [--output FILE]

Idle is `thermocline run` of an empty pipeline, ten seconds after it is ready (target: under 40 MiB resident). The flood sends FILE
(made by workload.py) in requests of 10,000 rows over 32 connections; what was acknowledged is counted in the stream afterwards.
How a log keeps to its cap on a disk that is slower than its producers is `cargo bench -p thermocline-log --bench overload`.
"""
import argparse
import multiprocessing
import pathlib
import subprocess
import sys
import tempfile
import time

from http_ingest import batches, send
from machine import SENSORS, Server, report, write


def idle(binary, parent):
    """Memory of a server that has nothing to do."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        server = Server(binary, pathlib.Path(folder), "-- nothing\n")
        time.sleep(10)
        memory = server.memory_mib()
        server.stop()
    return memory


def flood(options):
    """Memory while more comes in than can be stored, and whether all that was acknowledged is there."""
    ranges, connections = batches(options.input, options.rows, 10_000), 32
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        server = Server(options.thermocline, pathlib.Path(folder), SENSORS)
        answers = multiprocessing.Queue()
        clients = [
            multiprocessing.Process(target=send, args=(options.input, server.host, server.port, ranges[n::connections], answers))
            for n in range(connections)
        ]
        started = time.monotonic()
        for client in clients:
            client.start()
        peak = 0
        while any(client.is_alive() for client in clients) and answers.qsize() < connections:
            peak = max(peak, server.memory_mib()["resident"])
            time.sleep(0.05)
        acknowledged = sum(answers.get() for _ in clients)
        seconds = time.monotonic() - started
        time.sleep(5)
        after = server.memory_mib()
        overloaded = server.metric("thermocline_log_overloaded_total")
        server.stop()
        count = [options.thermocline, "sql", "--data-dir", server.data, "--format", "csv", "SELECT count(*) FROM sensors"]
        stored = int(subprocess.run(count, capture_output=True, text=True, check=True).stdout.split()[-1])
    if stored != acknowledged:
        sys.exit(f"{acknowledged} rows acknowledged, {stored} stored")
    return {"rows": acknowledged, "seconds": round(seconds, 2), "peak_resident_mib": peak, "after_mib": after,
            "commits_refused_for_now": overloaded}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--thermocline", required=True, type=pathlib.Path)
    arguments.add_argument("--input", type=pathlib.Path)
    arguments.add_argument("--rows", type=int, default=4_000_000)
    arguments.add_argument("--folder", type=pathlib.Path, help="where the data directories are made")
    arguments.add_argument("--output", type=pathlib.Path)
    options = arguments.parse_args()
    figures = {"idle_mib": idle(options.thermocline, options.folder), "idle_target_mib": 40}
    if options.input:
        figures["flood"] = flood(options)
    write(report(options.thermocline, **figures), options.output)


if __name__ == "__main__":
    main()
