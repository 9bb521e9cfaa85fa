#!/usr/bin/env python3
"""Polars over the NDJSON file as one batch, its streaming engine, two threads; rows are counted, nothing is kept. Usage: see peer.py."""
import os
import time

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import polars
from polars import col

from peer import COLUMNS, report

TYPES = {"text": polars.String, "integer": polars.Int64, "double": polars.Float64}
TEMPERATURE = col("temperature")


def q1(rows):
    figures = [polars.len().alias("n"), TEMPERATURE.mean().alias("mean"), TEMPERATURE.min().alias("low"), TEMPERATURE.max().alias("high")]
    return rows.group_by("device_id", (col("ts") // 10_000).alias("w")).agg(figures)


def q2(rows):
    panes = rows.group_by("device_id", (col("ts") // 10_000).alias("pane")).agg(
        TEMPERATURE.count().alias("n"), TEMPERATURE.sum().alias("s"), (TEMPERATURE * TEMPERATURE).sum().alias("ss"),
        TEMPERATURE.max().alias("high"))
    hops = polars.LazyFrame({"hop": range(6)}, schema={"hop": polars.Int64})
    windows = panes.join(hops, how="cross").group_by("device_id", (col("pane") + col("hop")).alias("w")).agg(
        col("n").cast(polars.Int64).sum(), col("s").sum(), col("ss").sum(), col("high").max())
    mean = col("s") / col("n")
    spread = ((col("ss") - col("s") * col("s") / col("n")) / (col("n") - 1)).abs().sqrt()
    return windows.filter(col("high") > mean + 3 * spread).select("device_id", "w", mean.alias("mean"), spread.alias("spread"), "high")


def q3(rows):
    return rows.filter(TEMPERATURE > 85).select("device_id", "ts", "temperature")


def q4(rows):
    key = ["device_id", "status"]
    begins = (col("ts").diff() >= 5_000).fill_null(True).over(key)
    marked = rows.select("device_id", "status", "ts").sort("ts").with_columns(begins.alias("begins"))
    numbered = marked.with_columns(col("begins").cast(polars.Int64).cum_sum().over(key).alias("session"))
    return numbered.group_by(*key, "session").agg(col("ts").min(), polars.len().alias("n"))


def measure(folder, name):
    schema = {column: TYPES[kind] for column, kind in COLUMNS.items()}
    before = time.monotonic()
    rows = polars.scan_ndjson(folder / "sensors.ndjson", schema=schema)
    result = {"Q1": q1, "Q2": q2, "Q3": q3, "Q4": q4}[name](rows).collect(engine="streaming")
    return time.monotonic() - before, result.height


report(measure, polars.__version__)
