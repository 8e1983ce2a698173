-- `walked_from_ms`: where the events begin that a decision rests on; NULL where it needed no look at the session.
CREATE OR REPLACE TEMPORARY TABLE decided AS
WITH walked AS (
    SELECT line, max(last_ms) FILTER (WHERE has_original) AS last_ms, min(start_ms) AS from_ms
    FROM (
        SELECT
            sessions.line,
            sessions.start_ms,
            max(event.timestamp_ms) AS last_ms,
            bool_or(event.is_original) AS has_original
        FROM line_events AS event
        ASOF INNER JOIN line_sessions AS sessions
            ON event.line = sessions.line AND event.timestamp_ms >= sessions.start_ms
        GROUP BY sessions.line, sessions.start_ms
    ) AS sessions
    GROUP BY line
)

SELECT
    candidates.kafka_partition,
    candidates.kafka_offset,
    candidates.session_id,
    candidates.is_listed,
    walked.from_ms AS walked_from_ms,
    coalesce(found.is_near OR walked.last_ms + rules.gap_ms >= candidates.horizon_ms, FALSE) AS is_in_state
FROM candidates
CROSS JOIN rules
LEFT JOIN found ON candidates.line = found.line
LEFT JOIN walked ON candidates.line = walked.line;

CREATE OR REPLACE TEMPORARY TABLE repeats_before AS SELECT * FROM repeats;

CREATE OR REPLACE TEMPORARY TABLE repeats AS
SELECT kafka_partition, kafka_offset FROM decided WHERE is_in_state AND NOT is_listed;
