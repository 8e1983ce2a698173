-- Is a record that uses an event_id again a repeat? As long as the session that holds the accepted event with that id is
-- in the state: until the clock has passed its last event by gap and lateness.
CREATE OR REPLACE TEMPORARY TABLE candidates AS
SELECT
    row_number() OVER (ORDER BY again.kafka_partition, again.kafka_offset) AS line,
    again.*,
    clocks.clock_ms - rules.lateness_ms AS horizon_ms
FROM again
CROSS JOIN rules
INNER JOIN clocks ON again.kafka_partition = clocks.kafka_partition AND again.kafka_offset = clocks.kafka_offset;

-- the accepted events with the id: where one is near enough, so is its session's last event (nearly every repeat)
CREATE OR REPLACE TEMPORARY TABLE found AS
SELECT
    candidates.line,
    bool_or(candidates.horizon_ms IS NULL OR earlier.timestamp_ms + rules.gap_ms >= candidates.horizon_ms) AS is_near
FROM candidates
CROSS JOIN rules
INNER JOIN events AS earlier
    ON
        candidates.kafka_partition = earlier.kafka_partition
        AND candidates.session_id = earlier.session_id
        AND candidates.event_id = earlier.event_id
        AND candidates.kafka_offset > earlier.kafka_offset
INNER JOIN clocks
    ON
        earlier.kafka_partition = clocks.kafka_partition
        AND earlier.kafka_offset = clocks.kafka_offset
        AND clocks.is_accepted
GROUP BY candidates.line;

-- for the others: all that was accepted of the session_id before the record, one line of events a candidate
CREATE OR REPLACE TEMPORARY TABLE line_events AS
SELECT
    candidates.line,
    earlier.timestamp_ms,
    earlier.event_id = candidates.event_id AS is_original
FROM candidates
INNER JOIN found ON candidates.line = found.line AND NOT found.is_near
INNER JOIN events AS earlier
    ON
        candidates.kafka_partition = earlier.kafka_partition
        AND candidates.session_id = earlier.session_id
        AND candidates.kafka_offset > earlier.kafka_offset
INNER JOIN clocks
    ON
        earlier.kafka_partition = clocks.kafka_partition
        AND earlier.kafka_offset = clocks.kafka_offset
        AND clocks.is_accepted;
