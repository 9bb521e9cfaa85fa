#!/usr/bin/env python3
"""Spark structured streaming over the NDJSON file as one micro-batch, two threads. Usage: see peer.py.

The time is that of the streaming query, from its start to its end, without the start of Python, of the Java runtime and of the
session. Output mode is "complete", which gives every window without waiting for rows behind it (Q3: "append"); results are
counted on their way into a sink that drops them. Progress is kept in a checkpoint folder, rows and results nowhere. A gap of
exactly five seconds joins two sessions of Spark, as of Flink.
"""
import pathlib
import tempfile
import time

import pyspark
from pyspark.sql import Observation, SparkSession, functions as f

from peer import columns, note_memory, report

TYPES = {"text": "STRING", "integer": "BIGINT", "double": "DOUBLE"}


def q1(rows):
    figures = [f.count("*"), f.avg("temperature"), f.min("temperature"), f.max("temperature")]
    return rows.groupBy("device_id", f.window("at", "10 seconds")).agg(*figures)


def q2(rows):
    windows = rows.groupBy("device_id", f.window("at", "60 seconds", "10 seconds")).agg(
        f.avg("temperature").alias("mean"), f.stddev("temperature").alias("spread"), f.max("temperature").alias("high"))
    return windows.where("high > mean + 3 * spread")


def q3(rows):
    return rows.where("temperature > 85").select("device_id", "ts", "temperature")


def q4(rows):
    return rows.groupBy("device_id", "status", f.session_window("at", "5 seconds")).agg(f.count("*"))


def measure(folder, name):
    settings = {
        "spark.driver.memory": "2g",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": 2,
        "spark.ui.enabled": False,
        "spark.ui.showConsoleProgress": False,
    }
    spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    with tempfile.TemporaryDirectory() as scratch:
        # A stream of files is a folder.
        source = pathlib.Path(scratch) / "source"
        source.mkdir()
        (source / "sensors.ndjson").symlink_to(folder / "sensors.ndjson")
        rows = spark.readStream.schema(columns(TYPES)).json(str(source))
        rows = rows.withColumn("at", f.timestamp_millis("ts")).withWatermark("at", "2 seconds")
        result = {"Q1": q1, "Q2": q2, "Q3": q3, "Q4": q4}[name](rows)
        result = result.observe("result", f.count(f.lit(1)).alias("rows"))
        writer = result.writeStream.format("noop").outputMode("append" if name == "Q3" else "complete")
        writer = writer.option("checkpointLocation", str(pathlib.Path(scratch) / "checkpoint")).trigger(availableNow=True)
        before = time.monotonic()
        running = writer.start()
        running.awaitTermination()
        seconds = time.monotonic() - before
        note_memory()
        observed = [progress.observedMetrics.get("result") for progress in running.recentProgress if progress.numInputRows]
    spark.stop()
    return seconds, sum(metrics["rows"] for metrics in observed if metrics)


report(measure, pyspark.__version__)
