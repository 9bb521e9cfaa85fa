CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, pressure DOUBLE, status TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
);
CREATE STREAM plain (at TIMESTAMP NOT NULL, value DOUBLE);
CREATE STREAM hourly (device_id TEXT NOT NULL, ts TIMESTAMP, peak DOUBLE, n INT);
CREATE TABLE devices (device_id TEXT PRIMARY KEY, site TEXT, since TIMESTAMP) WITH (location = 'Cargo.toml', format = 'csv');
CREATE SINK oncall WITH (connector = 'console');
CREATE SINK metrics WITH (connector = 'console');
