-- Hot: a machine that runs over its limit pages someone. Alerts are printed; PLANT_ONCALL and PLANT_ONCALL_SECRET send
-- them to PagerDuty.
CREATE SINK oncall WITH (
    connector   = '${PLANT_ONCALL:-console}',
    url         = '${PLANT_ONCALL_URL:-}',
    routing_key = secret('${PLANT_ONCALL_SECRET:-}')
);

CREATE ALERT overheating TO oncall
    KEY (device_id)
    RAISE WHEN peak > max_temperature FOR INTERVAL '10 seconds'
    CLEAR WHEN peak < max_temperature - 2
    SEVERITY CASE WHEN peak > max_temperature + 20 THEN 'critical' ELSE 'warning' END
    SUMMARY device_id || ' at ' || site || ': up to ' || round(peak, 1) || ' °C in the last minute'
AS
SELECT r.device_id, d.site, d.max_temperature, window_end, max(r.temperature) AS peak
FROM HOP(readings, ts, INTERVAL '10 seconds', INTERVAL '1 minute') AS r
JOIN devices AS d ON d.device_id = r.device_id
GROUP BY r.device_id, d.site, d.max_temperature, window_start, window_end;
