"""What the scripts of the peers share: one query in a fresh process, its time and its number of rows as a line of JSON.

usage of each: PEER.py FOLDER Q1|Q2|Q3|Q4       FOLDER holds what workload.py makes
"""
import json
import os
import pathlib
import sys

# The columns of the workload, and the types that most systems call by these names.
TEXT, INTEGER, DOUBLE = "text", "integer", "double"
COLUMNS = {"device_id": TEXT, "ts": INTEGER, "temperature": DOUBLE, "pressure": DOUBLE, "vibration": DOUBLE, "status": TEXT}


def columns(types):
    """The columns as SQL defines them, by the system's names of the types."""
    return ", ".join(f"{name} {types[kind]}" for name, kind in COLUMNS.items())


def highest_resident_mib():
    """The highest marks of the memory of this process and those below it, added up: a Java runtime is a process of its own."""
    parents, marks = {}, {}
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields["PPid"])
        marks[int(status.parent.name)] = int(fields.get("VmHWM", "0 kB").split()[0]) / 1024

    def is_below(process):
        while process in parents and process != os.getpid():
            process = parents[process]
        return process == os.getpid()

    return sum(mark for process, mark in marks.items() if is_below(process))


_noted = []


def note_memory():
    """Notes the memory before a runtime ends that `report` would find no more."""
    _noted.append(highest_resident_mib())


def report(measure, version):
    """Runs `measure(folder, query)`, which gives seconds, rows and perhaps how many input rows they count, and prints that."""
    folder, query = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    seconds, rows, *counted = measure(folder, query)
    note_memory()
    print(json.dumps({
        "seconds": seconds,
        "rows": rows,
        "counted": counted[0] if counted else None,
        "version": version,
        "resident_mib": max(_noted),
    }), flush=True)
