-- see recompute_users.sql
WITH leaving AS (
    SELECT episode_id, ended_at, last_event_kafka_at
    FROM pg_temp.old_rows
    WHERE leaves_episode
),

fresh AS MATERIALIZED (
    SELECT episode_id, ended_at, last_event_kafka_at
    FROM pg_temp.staged
    WHERE episode_id IN (SELECT leaving.episode_id FROM leaving)
),

losing AS (
    SELECT DISTINCT stored.episode_id
    FROM leaving AS old
    INNER JOIN realtime.episode_features AS stored ON old.episode_id = stored.episode_id
    WHERE
        (
            old.ended_at = stored.last_read_at
            AND NOT EXISTS (
                SELECT 1 FROM fresh
                WHERE fresh.episode_id = old.episode_id AND fresh.ended_at = old.ended_at
            )
        )
        OR (
            old.last_event_kafka_at = stored.last_event_kafka_at
            AND NOT EXISTS (
                SELECT 1 FROM fresh
                WHERE fresh.episode_id = old.episode_id AND fresh.last_event_kafka_at = old.last_event_kafka_at
            )
        )
),

newest AS (
    SELECT
        episode_id,
        max(ended_at) AS last_read_at,
        max(last_event_kafka_at) AS last_event_kafka_at
    FROM realtime.session_features
    WHERE episode_id IN (SELECT losing.episode_id FROM losing)
    GROUP BY episode_id
)

UPDATE realtime.episode_features AS stored SET
    last_read_at = newest.last_read_at,
    last_event_kafka_at = newest.last_event_kafka_at
FROM newest
WHERE stored.episode_id = newest.episode_id
