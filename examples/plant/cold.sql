-- Cold: every reading, in a Delta table that DuckDB and warehouses read.
CREATE SINK archive WITH (
    connector = 'delta', location = '${PLANT_ARCHIVE:-plant-archive}', partition_by = 'date', commit_interval = '5 seconds'
);

INSERT INTO archive SELECT * FROM readings;
