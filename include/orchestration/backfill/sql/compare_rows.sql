-- What the partition holds, each copy of a key numbered; and every row of both sides, paired by key.
CREATE OR REPLACE TEMPORARY TABLE rebuilt AS
SELECT
    made.*,
    version.genre,
    version.episode_rating,
    -- which micro-batch closed a reading is known where it was published; else that it is settled up to here
    coalesce(held.ledger_position, settled.ledger_position) AS ledger_position
FROM made
INNER JOIN settled ON made.generation = settled.generation
LEFT JOIN episodes AS version
    ON
        made.episode_id = version.episode_id
        AND epoch_us(made.started_at) >= version.valid_from_us
        AND epoch_us(made.started_at) < version.valid_to_us
LEFT JOIN (
    SELECT session_id, session_start_ms, episode_id, generation, max(ledger_position) AS ledger_position
    FROM partition_rows
    GROUP BY ALL
) AS held
    ON
        made.session_id = held.session_id
        AND made.session_start_ms = held.session_start_ms
        AND made.episode_id = held.episode_id
        AND made.generation = held.generation;

CREATE OR REPLACE TEMPORARY TABLE held_rows AS
SELECT
    *,
    row_number() OVER (PARTITION BY session_id, session_start_ms, episode_id ORDER BY ledger_position DESC) AS copy
FROM partition_rows;
