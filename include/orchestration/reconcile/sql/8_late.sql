-- Is the list of late events right? Of what is listed, the events whose clock was reached on the day, or that happened
-- on it, as far as they are archived; of what is not, those that happened on it. Where records before it are not archived, a
-- clock is at least what is known of it; so it is where a record of an erased reader may have set it.
CREATE OR REPLACE TEMPORARY TABLE late_checked AS
WITH listed AS (
    SELECT
        late.*,
        late.kafka_partition * rules.buckets_per_partition
        + crc32(late.session_id) % rules.buckets_per_partition AS bucket,
        late.bucket_clock_ms >= rules.window_from_ms AND late.bucket_clock_ms < rules.window_to_ms AS has_clock_here,
        rules.is_whole AND before.from_offset IS NULL
        AND coalesce(erased.newest_kafka_ms + rules.future_ms < late.bucket_clock_ms, TRUE) AS is_clock_known
    FROM late
    CROSS JOIN rules
    INNER JOIN offsets ON late.kafka_partition = offsets.kafka_partition AND late.kafka_offset < offsets.to_offset
    LEFT JOIN (SELECT kafka_partition, min(from_offset) AS from_offset FROM gaps GROUP BY kafka_partition) AS before
        ON late.kafka_partition = before.kafka_partition AND late.kafka_offset >= before.from_offset
    ASOF LEFT JOIN erased
        ON late.kafka_partition = erased.kafka_partition AND late.kafka_offset > erased.kafka_offset
    ANTI JOIN erased AS own
        ON late.kafka_partition = own.kafka_partition AND late.kafka_offset = own.kafka_offset
    ANTI JOIN gaps
        ON
            late.kafka_partition = gaps.kafka_partition
            AND late.kafka_offset >= gaps.from_offset
            AND late.kafka_offset < gaps.to_offset
    WHERE
        (late.bucket_clock_ms >= rules.day_from_ms AND late.bucket_clock_ms < rules.day_to_ms)
        OR (late.event_time_ms >= rules.day_from_ms AND late.event_time_ms < rules.day_to_ms)
),

-- the bucket's newest accepted record before the late one, and its clock with it
reached AS (
    SELECT
        listed.kafka_partition,
        listed.kafka_offset,
        greatest(coalesce(newest.clock_ms, newest.timestamp_ms), newest.timestamp_ms) AS clock_ms
    FROM listed
    ASOF INNER JOIN (SELECT * FROM clocks WHERE is_accepted) AS newest
        ON listed.bucket = newest.bucket AND listed.kafka_offset > newest.kafka_offset
),

judged AS (
    SELECT
        listed.kafka_partition,
        listed.kafka_offset,
        listed.event_time_ms,
        listed.bucket_clock_ms,
        reached.clock_ms,
        listed.has_clock_here,
        event.user_id,
        CASE
            WHEN listed.event_time_ms >= listed.bucket_clock_ms - rules.lateness_ms THEN 'not_behind_its_clock'
            WHEN decided.is_in_state THEN 'a_repeat'
            WHEN
                NOT coalesce(
                    event.session_id = listed.session_id
                    AND event.event_id = listed.event_id
                    AND event.timestamp_ms = listed.event_time_ms,
                    -- an event from outside the window is not at hand
                    listed.event_time_ms < rules.window_from_ms OR listed.event_time_ms >= rules.window_to_ms
                    OR NOT rules.is_whole
                )
                THEN 'another_record'
            WHEN
                listed.has_clock_here
                AND coalesce(reached.clock_ms, -1) <> listed.bucket_clock_ms
                AND (listed.is_clock_known OR coalesce(reached.clock_ms > listed.bucket_clock_ms, FALSE))
                THEN 'clock_not_reached'
        END AS fault
    FROM listed
    CROSS JOIN rules
    LEFT JOIN reached
        ON listed.kafka_partition = reached.kafka_partition AND listed.kafka_offset = reached.kafka_offset
    LEFT JOIN events AS event
        ON listed.kafka_partition = event.kafka_partition AND listed.kafka_offset = event.kafka_offset
    LEFT JOIN decided
        ON listed.kafka_partition = decided.kafka_partition AND listed.kafka_offset = decided.kafka_offset
)

SELECT * FROM judged
UNION ALL
SELECT
    clocks.kafka_partition,
    clocks.kafka_offset,
    clocks.timestamp_ms AS event_time_ms,
    NULL AS bucket_clock_ms,
    clocks.clock_ms,
    TRUE AS has_clock_here,
    event.user_id,
    'applied_though_late' AS fault
FROM clocks
CROSS JOIN rules
INNER JOIN events AS event
    ON clocks.kafka_partition = event.kafka_partition AND clocks.kafka_offset = event.kafka_offset
WHERE
    clocks.is_accepted
    AND clocks.timestamp_ms >= rules.day_from_ms
    AND clocks.timestamp_ms < rules.day_to_ms
    AND clocks.timestamp_ms < clocks.clock_ms - rules.lateness_ms;
