#!/usr/bin/env python3
"""The sensor workload, the same bytes for every system that is measured.

usage: workload.py OUTDIR [ROWS=10000000]      needs numpy and pyarrow; fixed seed
Writes OUTDIR/sensors.ndjson and OUTDIR/sensors.parquet: 1,000 devices, 10,000 readings a second of event time,
rows in arrival order, event time out of order by up to 2 s, random walks with rare spikes of +30.
Columns: device_id text, ts epoch ms, temperature, pressure, vibration f64, status text (5 values).
"""
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED, DEVICES, RATE, START_MS = 20261122, 1000, 10_000, 1_700_000_000_000
STATUS, WEIGHTS = np.array(["ok", "idle", "warn", "error", "maint"]), [0.80, 0.10, 0.06, 0.03, 0.01]


def synthesise(n):
    rng = np.random.default_rng(SEED)
    dev = rng.integers(0, DEVICES, n, dtype=np.int32)
    event = START_MS + (np.arange(n, dtype=np.int64) * 1000) // RATE
    delay = rng.integers(0, 2000, n, dtype=np.int64)
    base, step = rng.uniform(40, 80, DEVICES), rng.normal(0, 0.05, n)
    order = np.argsort(dev, kind="stable")
    by_dev = dev[order]
    walk = np.cumsum(step[order])
    first = np.r_[0, np.flatnonzero(np.diff(by_dev)) + 1]
    walk -= np.repeat(walk[first] - step[order][first], np.diff(np.r_[first, n]))
    temperature = np.empty(n)
    temperature[order] = walk + base[by_dev]
    temperature += rng.normal(0, 0.3, n)
    temperature[rng.random(n) < 0.0005] += 30.0
    columns = [dev, event, np.round(temperature, 3), np.round(1013.25 + rng.normal(0, 5, n), 3),
               np.round(np.abs(rng.normal(0, 1, n)), 4), rng.choice(5, n, p=WEIGHTS).astype(np.int8)]
    arrival = np.argsort(event + delay, kind="stable")
    return [c[arrival] for c in columns]


def main(out, n):
    os.makedirs(out, exist_ok=True)
    dev, ts, t, p, v, st = synthesise(n)
    names = [f"dev-{i:04d}" for i in range(1, DEVICES + 1)]
    text = lambda ix, values: pa.DictionaryArray.from_arrays(pa.array(ix), pa.array(values)).cast(pa.string())
    table = pa.table({"device_id": text(dev, names), "ts": pa.array(ts), "temperature": pa.array(t),
                      "pressure": pa.array(p), "vibration": pa.array(v), "status": text(st, STATUS)})
    pq.write_table(table, f"{out}/sensors.parquet", compression="zstd", compression_level=1, row_group_size=1_000_000)
    status = STATUS.tolist()
    with open(f"{out}/sensors.ndjson", "w") as f:
        for s in range(0, n, 200_000):
            part = [c[s:s + 200_000].tolist() for c in (dev, ts, t, p, v, st)]
            f.writelines(f'{{"device_id":"{names[d]}","ts":{e},"temperature":{a},"pressure":{b},"vibration":{c},"status":"{status[k]}"}}\n'
                         for d, e, a, b, c, k in zip(*part))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000)
