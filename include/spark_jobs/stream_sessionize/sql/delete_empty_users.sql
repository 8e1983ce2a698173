DELETE FROM realtime.user_features AS stored
USING pg_temp.old_rows AS old
WHERE
    old.leaves_user
    AND stored.user_id = old.user_id
    AND stored.readings_active = 0
    AND stored.readings_closed = 0
