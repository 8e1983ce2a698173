-- Which records count: accepted, repeat or late. Reads pg_temp.oracle_events and pg_temp.oracle_rules.
--
-- The clock of a bucket before a record is the largest timestamp of the non-repeats before it: a late event lies
-- behind the clock and cannot raise it, so lateness needs no recursion. Only a record whose event_id was seen before
-- in its session_id ("again") needs a look at the state: it is a repeat as long as the session of the accepted event
-- with that id was in the state, an event like any other afterwards.
CREATE TEMPORARY TABLE oracle_records AS
SELECT
    oracle_events.*,
    kafka_partition * buckets_per_partition
    + crc32(convert_to(session_id, 'UTF8')) % buckets_per_partition AS bucket,
    row_number() OVER (PARTITION BY kafka_partition, session_id, event_id ORDER BY kafka_offset) > 1 AS again,
    FALSE AS is_repeat
FROM pg_temp.oracle_events
CROSS JOIN pg_temp.oracle_rules;

CREATE INDEX ON oracle_records (session_id, kafka_partition, kafka_offset);
CREATE INDEX ON oracle_records (session_id, event_id);
ANALYZE oracle_records;

-- the clock as the first uses of event_ids alone make it
ALTER TABLE oracle_records ADD COLUMN first_use_clock_ms bigint;

UPDATE oracle_records AS target SET first_use_clock_ms = clocks.clock_ms
FROM (
    SELECT
        kafka_partition,
        kafka_offset,
        max(timestamp_ms) FILTER (WHERE NOT again) OVER (
            PARTITION BY bucket ORDER BY kafka_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS clock_ms
    FROM oracle_records
) AS clocks
WHERE target.kafka_partition = clocks.kafka_partition AND target.kafka_offset = clocks.kafka_offset;

-- ids used again and accepted, in offset order: they move the clock as well
CREATE TEMPORARY TABLE oracle_reused (bucket bigint, kafka_offset bigint, timestamp_ms bigint);
CREATE INDEX ON oracle_reused (bucket, kafka_offset);

-- was this record late, given the ids used again that were accepted before it?
CREATE FUNCTION pg_temp.oracle_was_late(earlier pg_temp.oracle_records, lateness_ms bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        earlier.timestamp_ms < greatest(
            earlier.first_use_clock_ms,
            (SELECT max(reused.timestamp_ms) FROM pg_temp.oracle_reused AS reused
             WHERE reused.bucket = earlier.bucket AND reused.kafka_offset < earlier.kafka_offset)
        ) - lateness_ms,
        FALSE
    )
$$;

DO $$
DECLARE
    rules pg_temp.oracle_rules;
    candidate pg_temp.oracle_records;
    horizon bigint;
    held record;
    start_ms bigint;
    last_ms bigint;
    has_id boolean;
    in_state boolean;
    walk boolean;
BEGIN
    SELECT * INTO rules FROM pg_temp.oracle_rules;
    FOR candidate IN
        SELECT * FROM pg_temp.oracle_records WHERE again ORDER BY bucket, kafka_offset
    LOOP
        horizon := greatest(
            candidate.first_use_clock_ms,
            (SELECT max(timestamp_ms) FROM pg_temp.oracle_reused
             WHERE bucket = candidate.bucket AND kafka_offset < candidate.kafka_offset)
        ) - rules.lateness_ms;
        -- the event itself is near enough, so its session's last event is as well (nearly every real repeat); where
        -- no event with the id was accepted there is no repeat
        SELECT
            coalesce(bool_or(horizon IS NULL OR earlier.timestamp_ms + rules.gap_ms >= horizon), FALSE),
            count(*) > 0
        INTO in_state, has_id
        FROM pg_temp.oracle_records AS earlier
        WHERE
            earlier.session_id = candidate.session_id
            AND earlier.event_id = candidate.event_id
            AND earlier.kafka_partition = candidate.kafka_partition
            AND earlier.kafka_offset < candidate.kafka_offset
            AND NOT earlier.is_repeat
            AND NOT pg_temp.oracle_was_late(earlier, rules.lateness_ms);
        walk := has_id AND NOT in_state;
        start_ms := NULL;
        has_id := FALSE;
        -- walk the accepted events of this session_id so far, session by session
        FOR held IN
            SELECT earlier.timestamp_ms, earlier.event_id
            FROM pg_temp.oracle_records AS earlier
            WHERE
                walk
                AND earlier.session_id = candidate.session_id
                AND earlier.kafka_partition = candidate.kafka_partition
                AND earlier.kafka_offset < candidate.kafka_offset
                AND NOT earlier.is_repeat
                AND NOT pg_temp.oracle_was_late(earlier, rules.lateness_ms)
            ORDER BY earlier.timestamp_ms, earlier.event_id COLLATE "C"
        LOOP
            IF start_ms IS NULL OR held.timestamp_ms - last_ms > rules.gap_ms
                OR held.timestamp_ms - start_ms > rules.max_length_ms
            THEN
                in_state := in_state OR (has_id AND last_ms + rules.gap_ms >= horizon);
                start_ms := held.timestamp_ms;
                has_id := FALSE;
            END IF;
            last_ms := held.timestamp_ms;
            has_id := has_id OR held.event_id = candidate.event_id;
        END LOOP;
        in_state := in_state OR (has_id AND last_ms + rules.gap_ms >= horizon);
        IF in_state THEN
            UPDATE pg_temp.oracle_records SET is_repeat = TRUE
            WHERE
                session_id = candidate.session_id
                AND kafka_partition = candidate.kafka_partition
                AND kafka_offset = candidate.kafka_offset;
        ELSIF candidate.timestamp_ms >= horizon OR horizon IS NULL THEN
            INSERT INTO pg_temp.oracle_reused
            VALUES (candidate.bucket, candidate.kafka_offset, candidate.timestamp_ms);
        END IF;
    END LOOP;
END
$$;

CREATE TEMPORARY TABLE oracle_classified AS
SELECT
    clocked.*,
    NOT is_repeat AND coalesce(timestamp_ms < bucket_clock_ms - lateness_ms, FALSE) AS is_late
FROM (
    SELECT
        oracle_records.*,
        max(oracle_records.timestamp_ms) FILTER (WHERE NOT oracle_records.is_repeat) OVER (
            PARTITION BY oracle_records.bucket ORDER BY oracle_records.kafka_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bucket_clock_ms,
        max(oracle_records.timestamp_ms) FILTER (WHERE NOT oracle_records.is_repeat) OVER (PARTITION BY oracle_records.bucket) AS last_clock_ms
    FROM oracle_records
) AS clocked
CROSS JOIN pg_temp.oracle_rules;
