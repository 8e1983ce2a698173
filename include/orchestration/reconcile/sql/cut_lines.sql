-- Cuts each line of events (`line_events`) into sessions: a silence of more than the gap ends one, and so does the first
-- event beyond the greatest length, counted from each start anew.
CREATE OR REPLACE TEMPORARY TABLE line_runs AS
SELECT
    line,
    timestamp_ms,
    max(timestamp_ms) FILTER (WHERE starts_run) OVER (
        PARTITION BY line ORDER BY timestamp_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS run_start_ms
FROM (
    SELECT
        line,
        timestamp_ms,
        coalesce(
            timestamp_ms - lag(timestamp_ms) OVER (PARTITION BY line ORDER BY timestamp_ms)
            > (SELECT gap_ms FROM rules),
            TRUE
        ) AS starts_run
    FROM (SELECT DISTINCT line, timestamp_ms FROM line_events) AS times
) AS marked;

CREATE OR REPLACE TEMPORARY TABLE line_sessions AS
WITH RECURSIVE too_long AS (
    SELECT line_runs.line, line_runs.run_start_ms, line_runs.timestamp_ms
    FROM line_runs
    CROSS JOIN rules
    WHERE line_runs.timestamp_ms > line_runs.run_start_ms + rules.max_length_ms
),

starts AS (
    SELECT DISTINCT line, run_start_ms, run_start_ms AS start_ms
    FROM line_runs
    UNION ALL
    SELECT starts.line, starts.run_start_ms, min(too_long.timestamp_ms) AS start_ms
    FROM starts
    INNER JOIN too_long
        ON
            starts.line = too_long.line
            AND starts.run_start_ms = too_long.run_start_ms
            AND too_long.timestamp_ms > starts.start_ms + (SELECT max_length_ms FROM rules)
    GROUP BY starts.line, starts.run_start_ms, starts.start_ms
)

SELECT line, run_start_ms, start_ms FROM starts;
