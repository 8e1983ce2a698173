-- Events that count in the wanted sessions: the first of each event_id by offset, from the session's start to the first
-- silence longer than the gap. `wanted` bounds the length, and the records that the row's micro-batches had read.
-- One thing is left out: an event_id that comes again in the id's next session is a repeat as long as the first session
-- is in the state, which only the bucket's clock at that record knows.
WITH near AS (
    SELECT
        events.*,
        wanted.session_start_ms,
        row_number() OVER (
            PARTITION BY events.session_id, wanted.session_start_ms, events.event_id ORDER BY events.kafka_offset
        ) AS nth_of_id
    FROM events
    INNER JOIN wanted
        ON
            events.session_id = wanted.session_id
            AND events.kafka_partition = wanted.kafka_partition
            AND events.event_ms >= wanted.session_start_ms
            AND events.event_ms <= wanted.session_start_ms + wanted.max_length_ms
            AND events.kafka_offset < wanted.end_offset
),

spaced AS (
    SELECT
        *,
        event_ms - lag(event_ms) OVER (
            PARTITION BY session_id, session_start_ms ORDER BY event_ms, event_id
        ) AS silence_ms
    FROM near
    WHERE nth_of_id = 1
),

numbered AS (
    SELECT
        spaced.*,
        rules.dwell_cap_ms,
        sum(CASE WHEN spaced.silence_ms > rules.gap_ms THEN 1 ELSE 0 END) OVER (
            PARTITION BY spaced.session_id, spaced.session_start_ms ORDER BY spaced.event_ms, spaced.event_id
        ) AS breaks
    FROM spaced
    CROSS JOIN rules
)

SELECT
    *,
    -- least() passes over NULL: the session's last event has no pause
    CASE
        WHEN lead(event_ms) OVER (PARTITION BY session_id, session_start_ms ORDER BY event_ms, event_id) IS NOT NULL
            THEN least(
                lead(event_ms) OVER (PARTITION BY session_id, session_start_ms ORDER BY event_ms, event_id) - event_ms,
                dwell_cap_ms
            )
    END AS pause_ms
FROM numbered
WHERE breaks = 0
