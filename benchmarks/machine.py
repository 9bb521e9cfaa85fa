"""What the benchmark scripts share: the machine, processes, and what Linux counts of them."""
import datetime
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")

SENSORS = """
CREATE STREAM sensors (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, pressure DOUBLE, vibration DOUBLE, status TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2);
"""


def machine():
    """Description of the machine."""
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory, 1), "kernel": platform.release()}


def report(binary, **figures):
    """Raw results with date, machine and versions."""
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {"thermocline": version, "python": platform.python_version()},
        **figures,
    }


def write(results, output):
    """Prints the results, and keeps them when there is a file to keep them in."""
    text = json.dumps(results, indent=1)
    if output:
        pathlib.Path(output).write_text(text + "\n")
    print(text)


def median(figures):
    """The middle of some figures."""
    return statistics.median(list(figures))


class Server:
    """A `thermocline run` of its own on an empty data directory."""

    def __init__(self, binary, folder, pipeline):
        path, self.data = folder / "pipeline.sql", folder / "data"
        path.write_text(pipeline)
        command = [binary, "run", path, "--data-dir", self.data, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(folder / "server.log", "wb"))
        self.pid = self.process.pid
        self.host, self.port = self._ready()

    def _ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                address = (self.data / "address").read_text().strip()
                with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        host, port = address.rsplit(":", 1)
                        return host, int(port)
            except OSError:
                pass
            time.sleep(0.02)
        sys.exit("the server did not become ready; see server.log")

    def cpu_seconds(self):
        """User and system time so far, ended threads included."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def threads_cpu_seconds(self):
        """CPU seconds by the name of the threads that run now."""
        seconds = {}
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                seconds[name] = seconds.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue
        return {name: round(used, 3) for name, used in sorted(seconds.items(), key=lambda item: -item[1])}

    def memory_mib(self):
        """Resident memory by kind, and its highest mark."""
        lines = (line.split() for line in open(f"/proc/{self.pid}/status"))
        kinds = {"VmRSS:": "resident", "RssAnon:": "anonymous", "RssFile:": "file", "VmHWM:": "highest"}
        return {kinds[line[0]]: round(int(line[1]) / 1024, 2) for line in lines if line[0] in kinds}

    def metric(self, name):
        """Sum of a metric over its labels; 0 when it is not there."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self):
        """Ends the server in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)
