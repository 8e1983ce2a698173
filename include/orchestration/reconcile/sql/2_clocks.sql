-- Each record's clock: the largest timestamp that its bucket had accepted before it. NULL: nothing in this window.
CREATE OR REPLACE TEMPORARY TABLE clocks AS
SELECT
    kafka_partition,
    kafka_offset,
    bucket,
    timestamp_ms,
    is_accepted,
    max(timestamp_ms) FILTER (WHERE is_accepted) OVER (
        PARTITION BY bucket ORDER BY kafka_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS clock_ms
FROM (
    SELECT
        events.kafka_partition,
        events.kafka_offset,
        events.bucket,
        events.timestamp_ms,
        NOT events.is_listed AND repeats.kafka_offset IS NULL AS is_accepted
    FROM events
    LEFT JOIN repeats
        ON events.kafka_partition = repeats.kafka_partition AND events.kafka_offset = repeats.kafka_offset
) AS judged;
