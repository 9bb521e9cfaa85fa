"""Q1 to Q4 as batch SQL over the table `rows`, whose `ts` is in milliseconds; hops by panes, which is the fastest way to write them.

`{div}` is the system's division of integers.
"""
Q1 = """SELECT device_id, ts {div} 10000 AS w, count(*) AS n, avg(temperature) AS mean, min(temperature) AS low, max(temperature) AS high
FROM rows GROUP BY 1, 2"""

Q2 = """WITH panes AS (
    SELECT device_id, ts {div} 10000 AS pane, count(temperature) AS n, sum(temperature) AS s, sum(temperature * temperature) AS ss,
           max(temperature) AS high FROM rows GROUP BY 1, 2),
windows AS (
    SELECT device_id, pane + hop AS w, sum(n) AS n, sum(s) AS s, sum(ss) AS ss, max(high) AS high
    FROM panes CROSS JOIN (VALUES (0), (1), (2), (3), (4), (5)) AS h(hop) GROUP BY 1, 2)
SELECT device_id, w, s / n AS mean, sqrt(abs((ss - s * s / n) / (n - 1))) AS spread, high
FROM windows WHERE high > s / n + 3 * sqrt(abs((ss - s * s / n) / (n - 1)))"""

Q3 = "SELECT device_id, ts, temperature FROM rows WHERE temperature > 85"

Q4 = """WITH marked AS (
    SELECT device_id, status, ts,
           CASE WHEN ts - lag(ts) OVER (PARTITION BY device_id, status ORDER BY ts) < 5000 THEN 0 ELSE 1 END AS begins FROM rows),
numbered AS (
    SELECT device_id, status, ts, sum(begins) OVER (PARTITION BY device_id, status ORDER BY ts) AS session FROM marked)
SELECT device_id, status, session, min(ts) AS began, count(*) AS n FROM numbered GROUP BY 1, 2, 3"""


def query(name, div):
    """The text of a query."""
    return {"Q1": Q1, "Q2": Q2, "Q3": Q3, "Q4": Q4}[name].replace("{div}", div)
