-- A maximum does not fold when a row leaves: look again, but only for users whose maximum was the leaving row's
-- and is no new row's. Few rows leave, if any, and of the new ones only their users' are looked at.
WITH leaving AS (
    SELECT user_id, episode_id, ended_at, last_event_kafka_at
    FROM pg_temp.old_rows
    WHERE leaves_user
),

fresh AS MATERIALIZED (
    SELECT user_id, episode_id, ended_at, last_event_kafka_at
    FROM pg_temp.staged
    WHERE user_id IN (SELECT leaving.user_id FROM leaving)
),

losing AS (
    SELECT DISTINCT stored.user_id
    FROM leaving AS old
    INNER JOIN realtime.user_features AS stored ON old.user_id = stored.user_id
    WHERE
        (
            old.ended_at = stored.last_read_at
            AND old.episode_id = stored.last_episode_id
            AND NOT EXISTS (
                SELECT 1 FROM fresh
                WHERE
                    fresh.user_id = old.user_id
                    AND fresh.ended_at = old.ended_at
                    AND fresh.episode_id = old.episode_id
            )
        )
        OR (
            old.last_event_kafka_at = stored.last_event_kafka_at
            AND NOT EXISTS (
                SELECT 1 FROM fresh
                WHERE fresh.user_id = old.user_id AND fresh.last_event_kafka_at = old.last_event_kafka_at
            )
        )
),

newest AS (
    SELECT
        user_id,
        max(ended_at) AS last_read_at,
        (array_agg(episode_id ORDER BY ended_at DESC, episode_id DESC))[1] AS last_episode_id,
        max(last_event_kafka_at) AS last_event_kafka_at
    FROM realtime.session_features
    WHERE user_id IN (SELECT losing.user_id FROM losing)
    GROUP BY user_id
)

UPDATE realtime.user_features AS stored SET
    last_read_at = newest.last_read_at,
    last_episode_id = newest.last_episode_id,
    last_event_kafka_at = newest.last_event_kafka_at
FROM newest
WHERE stored.user_id = newest.user_id
