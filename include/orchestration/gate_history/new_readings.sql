-- $1 cut, $2 its generation, $3 its ledger position.
-- Where the last published cut before it stood, and how many readings became final since.
WITH before AS (
    SELECT coalesce(max(ledger_position), 0) AS position
    FROM ops.model_cuts
    WHERE published_at IS NOT NULL AND cut_id < $1 AND generation = $2
)

SELECT
    before.position,
    count(reading.session_id) AS readings
FROM before
LEFT JOIN realtime.session_features AS reading
    ON
        reading.is_final
        AND reading.generation = $2
        AND before.position < reading.ledger_position
        AND reading.ledger_position <= $3
GROUP BY before.position
