-- The temperature of a large industrial machine, a value every five minutes, replayed from a CSV.
CREATE STREAM machine (
    timestamp TIMESTAMP NOT NULL,
    value     DOUBLE,
    WATERMARK FOR timestamp AS timestamp - INTERVAL '10 minutes'
) WITH (connector = 'file', path = '${MACHINE_CSV}', format = 'csv', max_skew = 'none');

-- Hot: a machine that stays cold does no work. The warmest value of the last hour has been below 66 °F for 11 hours.
-- Alerts are printed; MACHINE_ONCALL and MACHINE_ONCALL_SECRET send them to PagerDuty.
CREATE SINK oncall WITH (
    connector   = '${MACHINE_ONCALL:-console}',
    url         = '${MACHINE_ONCALL_URL:-}',
    routing_key = secret('${MACHINE_ONCALL_SECRET:-}')
);

CREATE ALERT cold TO oncall
    KEY (machine)
    RAISE WHEN high < 66 FOR INTERVAL '11 hours'
    CLEAR WHEN low > 76
    SEVERITY CASE WHEN low < 45 THEN 'critical' ELSE 'warning' END
    SUMMARY machine || ': ' || round(low, 1) || ' to ' || round(high, 1) || ' °F in the last hour'
AS
SELECT 'machine-1' AS machine, window_end, min(value) AS low, max(value) AS high
FROM HOP(machine, timestamp, INTERVAL '15 minutes', INTERVAL '1 hour')
GROUP BY window_start, window_end;

-- Warm: hourly averages, in a stream that can be queried.
CREATE STREAM hourly (
    ts              TIMESTAMP NOT NULL,
    readings        BIGINT    NOT NULL,
    avg_temperature DOUBLE,
    min_temperature DOUBLE,
    max_temperature DOUBLE
);

INSERT INTO hourly
SELECT window_start, count(*), avg(value), min(value), max(value)
FROM TUMBLE(machine, timestamp, INTERVAL '1 hour')
GROUP BY window_start, window_end;

-- They go to InfluxDB as well, as the measurement machine_hourly, with MACHINE_METRICS=influxdb, MACHINE_METRICS_URL and
-- MACHINE_METRICS_DATABASE.
CREATE SINK machine_hourly WITH (
    connector = '${MACHINE_METRICS:-blackhole}',
    url       = '${MACHINE_METRICS_URL:-}',
    database  = '${MACHINE_METRICS_DATABASE:-}'
);

INSERT INTO machine_hourly SELECT * FROM hourly;

-- Cold: every row, in a Delta table that DuckDB and warehouses read.
CREATE SINK archive WITH (connector = 'delta', location = '${MACHINE_ARCHIVE:-machine-archive}', partition_by = 'date');

INSERT INTO archive SELECT * FROM machine;
