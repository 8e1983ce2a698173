-- A changed row is closed and its next version opened, a row that vanished is closed; now() is the load's one time.
-- The first version of a key is valid from -infinity: what was read before its first load finds it, too.
WITH incoming AS (
    SELECT title_id, name, genre, tags FROM pg_temp.staged_titles
),

known AS (
    SELECT title_id, name, genre, tags FROM reference.titles WHERE valid_to = 'infinity'
),

compared AS (
    SELECT
        coalesce(incoming.title_id, known.title_id) AS title_id,
        CASE
            WHEN known.title_id IS NULL THEN 'added'
            WHEN incoming.title_id IS NULL THEN 'removed'
            WHEN (incoming.name, incoming.genre, incoming.tags) <> (known.name, known.genre, known.tags)
                THEN 'changed'
            ELSE 'unchanged'
        END AS change
    FROM incoming
    FULL JOIN known ON incoming.title_id = known.title_id
),

closed AS (
    UPDATE reference.titles AS stored SET valid_to = now()
    FROM compared
    WHERE
        stored.title_id = compared.title_id
        AND stored.valid_to = 'infinity'
        AND compared.change IN ('changed', 'removed')
),

opened AS (
    INSERT INTO reference.titles (title_id, name, genre, tags, valid_from)
    SELECT
        incoming.title_id, incoming.name, incoming.genre, incoming.tags,
        CASE
            WHEN EXISTS (SELECT FROM reference.titles AS earlier WHERE earlier.title_id = incoming.title_id)
                THEN now()
            ELSE '-infinity'
        END
    FROM incoming
    INNER JOIN compared ON incoming.title_id = compared.title_id
    WHERE compared.change IN ('added', 'changed')
)

SELECT
    change,
    count(*),
    (array_agg(title_id ORDER BY title_id))[1:5]
FROM compared
GROUP BY change
