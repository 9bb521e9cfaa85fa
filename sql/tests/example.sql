-- One row of a sensor reading.
CREATE STREAM readings (
    device_id   TEXT      NOT NULL,
    ts          TIMESTAMP NOT NULL,
    temperature DOUBLE,
    pressure    DOUBLE,
    vibration   DOUBLE,
    status      TEXT,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id)
WITH (partitions = 4, retention = '7 days', format = 'json', 'mqtt.topic' = 'plant/+device_id/readings');

CREATE TABLE devices (device_id TEXT PRIMARY KEY, site TEXT, max_temperature DOUBLE)
WITH (location = 'devices.csv', refresh = '1 minute');

CREATE SINK oncall  WITH (connector = 'pagerduty', routing_key = secret('PAGERDUTY_ROUTING_KEY'));
CREATE SINK metrics WITH (connector = 'influxdb', url = 'http://localhost:8086', database = 'plant');
CREATE SINK archive WITH (connector = 'delta', location = 's3://plant/readings', partition_by = 'date');

-- hot
CREATE ALERT overheating TO oncall
    KEY (device_id)
    RAISE WHEN peak > max_temperature FOR INTERVAL '30 seconds'
    CLEAR WHEN peak < max_temperature - 5
    SEVERITY CASE WHEN peak > max_temperature + 20 THEN 'critical' ELSE 'warning' END
    SUMMARY device_id || ' at ' || site || ' reached ' || round(peak, 1) || ' °C'
AS
SELECT r.device_id, d.site, d.max_temperature, window_end, max(r.temperature) AS peak
FROM HOP(readings, ts, INTERVAL '10 seconds', INTERVAL '1 minute') AS r
JOIN devices AS d ON d.device_id = r.device_id
GROUP BY r.device_id, d.site, d.max_temperature, window_start, window_end;

-- warm
INSERT INTO metrics
SELECT window_start AS ts, device_id, avg(temperature) AS avg_temperature, max(vibration) AS max_vibration
FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
GROUP BY device_id, window_start, window_end;

-- cold
INSERT INTO archive SELECT * FROM readings;
