-- What comes in: ten simulated machines, about a hundred readings a second, ten minutes of them as fast as they can be
-- made. PLANT_SPEED=1 takes the ten minutes. With a real plant, drop the connector and its options: the same stream
-- takes readings over HTTP.
CREATE STREAM readings (
    device_id   TEXT      NOT NULL,
    ts          TIMESTAMP NOT NULL,
    temperature DOUBLE,
    pressure    DOUBLE,
    vibration   DOUBLE,
    status      TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id)
WITH (
    partitions = 2, retention = '7 days', max_skew = 'none',
    connector = 'simulator', devices = 10, rate = 100, seed = 42, rows = '${PLANT_ROWS:-60000}', speed = '${PLANT_SPEED:-max}',
    start = '2026-01-01T00:00:00Z', disorder = '1 second', spike_rate = 0.03
);

-- What is known of the machines; the file is read again every minute.
CREATE TABLE devices (device_id TEXT PRIMARY KEY, site TEXT, max_temperature DOUBLE)
WITH (location = 'devices.csv', refresh = '1 minute');
