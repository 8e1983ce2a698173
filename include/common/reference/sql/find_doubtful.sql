-- Episodes whose rows contradict what was read; after the load, in its transaction (now() is its one time).
WITH found AS (
    SELECT
        'launched_after_reading' AS kind,
        episode.episode_id
    FROM pg_temp.staged_episodes AS episode
    WHERE EXISTS (
        SELECT FROM realtime.session_features AS reading
        WHERE
            reading.episode_id = episode.episode_id
            -- it is that date first in UTC+14
            AND reading.started_at < (episode.launch_date::TIMESTAMP AT TIME ZONE 'UTC') - INTERVAL '14 hours'
    )
    UNION ALL
    SELECT
        'removed_though_read' AS kind,
        episode.episode_id
    FROM reference.episode_metadata AS episode
    WHERE
        episode.valid_to = now()
        AND NOT EXISTS (SELECT FROM pg_temp.staged_episodes AS kept WHERE kept.episode_id = episode.episode_id)
        AND EXISTS (SELECT FROM realtime.session_features AS reading WHERE reading.episode_id = episode.episode_id)
)

SELECT
    kind,
    count(*),
    (array_agg(episode_id ORDER BY episode_id))[1:5]
FROM found
GROUP BY kind
ORDER BY kind
