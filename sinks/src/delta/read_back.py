# Reads a table with two readers and prints what they found as JSON.
import json, sys
import deltalake, duckdb, duckdb_extensions

location = sys.argv[1]
connection = duckdb.connect()
duckdb_extensions.import_extension("delta")
connection.execute("LOAD delta")
table = deltalake.DeltaTable(location).to_pyarrow_table()
connection.register("read_by_deltalake", table)

def summary(source):
    row = connection.execute(
        f"""SELECT count(*), count(DISTINCT (device_id, ts, id, temperature)),
                   count(*) FILTER (date = DATE '2026-11-23'),
                   count(*) FILTER (isnan(temperature)), max(note) FILTER (note LIKE 'Gr%')
            FROM {source}"""
    ).fetchone()
    return dict(zip(["rows", "distinct", "day", "nan", "unicode"], row))

print(json.dumps({"deltalake": summary("read_by_deltalake"), "duckdb": summary(f"delta_scan('{location}')")}))
