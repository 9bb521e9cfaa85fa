-- A large industrial machine's temperature, one value every five minutes (Numenta Anomaly Benchmark), replayed from a CSV.
CREATE STREAM machine (
    timestamp TIMESTAMP NOT NULL,
    value     DOUBLE,
    WATERMARK FOR timestamp AS timestamp - INTERVAL '10 minutes'
) WITH (connector = 'file', path = '${MACHINE_CSV}', format = 'csv', max_skew = 'none');

-- Hot: the machine runs outside of what is normal for it, for more than half an hour.
CREATE SINK oncall WITH (connector = '${MACHINE_ONCALL:-console}' );

CREATE ALERT out_of_range TO oncall
    KEY (machine)
    RAISE WHEN low < 45 OR high > 104 FOR INTERVAL '30 minutes'
    CLEAR WHEN low > 55 AND high < 100
    SEVERITY CASE WHEN low < 30 THEN 'critical' ELSE 'warning' END
    SUMMARY machine || ' between ' || round(low, 1) || ' and ' || round(high, 1) || ' °F'
AS
SELECT 'machine-1' AS machine, window_end, min(value) AS low, max(value) AS high
FROM HOP(machine, timestamp, INTERVAL '15 minutes', INTERVAL '1 hour')
GROUP BY window_start, window_end;

-- Warm: hourly averages.
CREATE STREAM hourly (
    ts TIMESTAMP NOT NULL, readings BIGINT NOT NULL, avg_temperature DOUBLE, min_temperature DOUBLE, max_temperature DOUBLE
);

INSERT INTO hourly
SELECT window_start, count(*), avg(value), min(value), max(value)
FROM TUMBLE(machine, timestamp, INTERVAL '1 hour')
GROUP BY window_start, window_end;

-- Cold: every row.
CREATE SINK archive WITH (connector = 'delta', location = '${MACHINE_ARCHIVE:-machine-archive}', partition_by = 'date');

INSERT INTO archive SELECT * FROM machine;
