-- The archived events of one window of event time that a generation has read, which of them it lists as late, and which
-- use an event_id that was used before in their session_id ("again").
CREATE OR REPLACE TEMPORARY TABLE events AS
SELECT
    archived.kafka_partition,
    archived.kafka_offset,
    epoch_ms(archived.kafka_timestamp) AS kafka_ms,
    archived.kafka_partition * rules.buckets_per_partition
    + crc32(archived.session_id) % rules.buckets_per_partition AS bucket,
    archived.session_id,
    archived.event_id,
    archived.user_id,
    archived.episode_id,
    archived.event_type,
    archived.country,
    archived.device,
    archived.platform,
    archived."timestamp" AS timestamp_ms,
    archived.scroll_ratio + 0.0 AS scroll_ratio,
    archived.experiments,
    archived.ui_version,
    late.kafka_offset IS NOT NULL AS is_listed
FROM archived
CROSS JOIN rules
INNER JOIN offsets ON archived.kafka_partition = offsets.kafka_partition
LEFT JOIN late
    ON archived.kafka_partition = late.kafka_partition AND archived.kafka_offset = late.kafka_offset
WHERE
    archived.topic = rules.topic
    AND archived."timestamp" >= rules.window_from_ms
    AND archived."timestamp" < rules.window_to_ms
    AND archived.kafka_offset >= offsets.from_offset
    AND archived.kafka_offset < offsets.to_offset;

CREATE OR REPLACE TEMPORARY TABLE used_again AS
SELECT kafka_partition, session_id, event_id, min(kafka_offset) FILTER (WHERE NOT is_listed) AS first_offset
FROM events
GROUP BY kafka_partition, session_id, event_id
HAVING count(*) > 1;

-- a record that is archived twice for a moment (a slice that is being released) counts once
DELETE FROM events WHERE rowid IN (
    SELECT copies.row_id
    FROM (
        SELECT
            events.rowid AS row_id,
            row_number() OVER (PARTITION BY events.kafka_partition, events.kafka_offset) AS copy
        FROM events
        SEMI JOIN used_again
            ON
                events.kafka_partition = used_again.kafka_partition
                AND events.session_id = used_again.session_id
                AND events.event_id = used_again.event_id
    ) AS copies
    WHERE copies.copy > 1
);

CREATE OR REPLACE TEMPORARY TABLE again AS
SELECT
    events.kafka_partition,
    events.kafka_offset,
    events.session_id,
    events.event_id,
    events.timestamp_ms,
    events.is_listed
FROM events
INNER JOIN used_again
    ON
        events.kafka_partition = used_again.kafka_partition
        AND events.session_id = used_again.session_id
        AND events.event_id = used_again.event_id
        AND events.kafka_offset > used_again.first_offset;

-- of those the ones that are taken for repeats; 3_repeats.sql decides anew, from what all of them make of the clocks
CREATE OR REPLACE TEMPORARY TABLE repeats AS
SELECT kafka_partition, kafka_offset FROM again WHERE NOT is_listed;
