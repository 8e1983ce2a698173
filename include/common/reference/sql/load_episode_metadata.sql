-- A changed row is closed and its next version opened, a row that vanished is closed; now() is the load's one time.
-- The first version of a key is valid from -infinity: what was read before its first load finds it, too.
WITH incoming AS (
    SELECT
        episode.episode_id,
        episode.title_id,
        title.name AS title,
        episode.episode_number,
        title.genre,
        title.tags,
        episode.rating,
        episode.launch_date
    FROM pg_temp.staged_episodes AS episode
    INNER JOIN pg_temp.staged_titles AS title ON episode.title_id = title.title_id
),

known AS (
    SELECT episode_id, title_id, title, episode_number, genre, tags, rating, launch_date
    FROM reference.episode_metadata
    WHERE valid_to = 'infinity'
),

compared AS (
    SELECT
        coalesce(incoming.episode_id, known.episode_id) AS episode_id,
        CASE
            WHEN known.episode_id IS NULL THEN 'added'
            WHEN incoming.episode_id IS NULL THEN 'removed'
            WHEN
                (
                    incoming.title_id, incoming.title, incoming.episode_number, incoming.genre, incoming.tags,
                    incoming.rating, incoming.launch_date
                ) <> (
                    known.title_id, known.title, known.episode_number, known.genre, known.tags,
                    known.rating, known.launch_date
                )
                THEN 'changed'
            ELSE 'unchanged'
        END AS change
    FROM incoming
    FULL JOIN known ON incoming.episode_id = known.episode_id
),

closed AS (
    UPDATE reference.episode_metadata AS stored SET valid_to = now()
    FROM compared
    WHERE
        stored.episode_id = compared.episode_id
        AND stored.valid_to = 'infinity'
        AND compared.change IN ('changed', 'removed')
),

opened AS (
    INSERT INTO reference.episode_metadata (
        episode_id, title_id, title, episode_number, genre, tags, rating, launch_date, valid_from
    )
    SELECT
        incoming.episode_id, incoming.title_id, incoming.title, incoming.episode_number, incoming.genre,
        incoming.tags, incoming.rating, incoming.launch_date,
        CASE
            WHEN
                EXISTS (SELECT FROM reference.episode_metadata AS earlier WHERE earlier.episode_id = incoming.episode_id)
                THEN now()
            ELSE '-infinity'
        END
    FROM incoming
    INNER JOIN compared ON incoming.episode_id = compared.episode_id
    WHERE compared.change IN ('added', 'changed')
)

SELECT
    change,
    count(*),
    (array_agg(episode_id ORDER BY episode_id))[1:5]
FROM compared
GROUP BY change
