-- Warm: a series of ten seconds per machine, in a stream that can be queried.
CREATE STREAM series (
    ts              TIMESTAMP NOT NULL,
    device_id       TEXT      NOT NULL,
    readings        BIGINT    NOT NULL,
    avg_temperature DOUBLE,
    max_temperature DOUBLE,
    max_vibration   DOUBLE
);

INSERT INTO series
SELECT window_start, device_id, count(*), avg(temperature), max(temperature), max(vibration)
FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
GROUP BY device_id, window_start, window_end;

-- It goes to InfluxDB as well, as the measurement plant_series, with PLANT_METRICS=influxdb, PLANT_METRICS_URL and
-- PLANT_METRICS_DATABASE.
CREATE SINK plant_series WITH (
    connector = '${PLANT_METRICS:-blackhole}',
    url       = '${PLANT_METRICS_URL:-}',
    database  = '${PLANT_METRICS_DATABASE:-}'
);

INSERT INTO plant_series SELECT * FROM series;
