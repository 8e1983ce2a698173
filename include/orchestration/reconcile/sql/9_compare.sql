-- Final readings of the day as recomputed, with genre and rating of the version that is valid at started_at; and the rows that
-- the partition holds, each copy of a key numbered. Times in microseconds.
CREATE OR REPLACE TEMPORARY TABLE expected AS
SELECT
    recomputed.* EXCLUDE (experiments),
    list_sort(map_entries(recomputed.experiments)) AS experiments,
    version.genre,
    version.episode_rating,
    version.valid_from_us = -9223372036854775808 AS is_first_version
FROM recomputed
LEFT JOIN episodes AS version
    ON
        recomputed.episode_id = version.episode_id
        AND recomputed.started_at >= version.valid_from_us
        AND recomputed.started_at < version.valid_to_us;

CREATE OR REPLACE TEMPORARY TABLE published AS
SELECT
    held.* EXCLUDE (experiments, started_at, ended_at, last_event_kafka_at),
    list_sort(map_entries(held.experiments)) AS experiments,
    epoch_us(held.started_at) AS started_at,
    epoch_us(held.ended_at) AS ended_at,
    epoch_us(held.last_event_kafka_at) AS last_event_kafka_at,
    row_number() OVER (
        PARTITION BY held.session_id, held.session_start_ms, held.episode_id ORDER BY held.ledger_position DESC
    ) AS copy,
    -- where the episode's genre was known already, when this or an earlier micro-batch was published
    min(held.ledger_position) FILTER (WHERE held.genre IS NOT NULL) OVER (
        PARTITION BY held.generation, held.episode_id
    ) AS genre_known_from
FROM partition_rows AS held;
