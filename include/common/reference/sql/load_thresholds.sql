-- A value that a file states closes the version before it; a default (not is_given) only fills in a
-- name that the table lacks. What the file leaves out stays: it lists changes, not everything.
WITH known AS (
    SELECT name, value, unit, meaning FROM reference.thresholds WHERE valid_to = 'infinity'
),

compared AS (
    SELECT
        incoming.name,
        CASE
            WHEN known.name IS NULL THEN 'added'
            WHEN
                incoming.is_given
                AND (incoming.value, incoming.unit, incoming.meaning) <> (known.value, known.unit, known.meaning)
                THEN 'changed'
            ELSE 'unchanged'
        END AS change
    FROM pg_temp.staged_thresholds AS incoming
    LEFT JOIN known ON incoming.name = known.name
),

closed AS (
    UPDATE reference.thresholds AS stored SET valid_to = now()
    FROM compared
    WHERE
        stored.name = compared.name
        AND stored.valid_to = 'infinity'
        AND compared.change = 'changed'
),

opened AS (
    INSERT INTO reference.thresholds (name, value, unit, meaning, valid_from)
    SELECT
        incoming.name, incoming.value, incoming.unit, incoming.meaning,
        CASE
            WHEN EXISTS (SELECT FROM reference.thresholds AS earlier WHERE earlier.name = incoming.name)
                THEN now()
            ELSE '-infinity'
        END
    FROM pg_temp.staged_thresholds AS incoming
    INNER JOIN compared ON incoming.name = compared.name
    WHERE compared.change IN ('added', 'changed')
)

SELECT
    change,
    count(*),
    (array_agg(name ORDER BY name))[1:5]
FROM compared
GROUP BY change
