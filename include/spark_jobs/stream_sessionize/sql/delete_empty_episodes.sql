DELETE FROM realtime.episode_features AS stored
USING pg_temp.old_rows AS old
WHERE
    old.leaves_episode
    AND stored.episode_id = old.episode_id
    AND stored.readings_active = 0
    AND stored.readings_closed = 0
