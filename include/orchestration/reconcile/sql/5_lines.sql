-- The accepted events of every session_id that has one on the day, one line of events a session_id.
CREATE OR REPLACE TEMPORARY TABLE lines AS
SELECT row_number() OVER (ORDER BY events.kafka_partition, events.session_id) AS line, events.*
FROM (
    SELECT DISTINCT events.kafka_partition, events.session_id
    FROM events
    CROSS JOIN rules
    WHERE NOT events.is_listed AND events.timestamp_ms >= rules.day_from_ms AND events.timestamp_ms < rules.day_to_ms
) AS events;

CREATE OR REPLACE TEMPORARY TABLE line_events AS
SELECT lines.line, events.*, clocks.clock_ms
FROM events
INNER JOIN lines ON events.kafka_partition = lines.kafka_partition AND events.session_id = lines.session_id
INNER JOIN clocks
    ON
        events.kafka_partition = clocks.kafka_partition
        AND events.kafka_offset = clocks.kafka_offset
        AND clocks.is_accepted;
