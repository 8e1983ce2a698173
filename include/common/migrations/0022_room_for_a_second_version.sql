-- Every reading is written at least twice, open and final. With a page half full when it is filled, the second version
-- stands on the first one's page (HOT) and no index is written to; at 70 % four updates of ten went elsewhere, when many
-- sessions end in one micro-batch.
DO $$
DECLARE
    readings regclass;
BEGIN
    FOREACH readings IN ARRAY ARRAY[
        to_regclass('realtime.session_features'),
        to_regclass('realtime_shadow.session_features'),
        to_regclass('realtime_retired.session_features')
    ] LOOP
        IF readings IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', readings);
        END IF;
    END LOOP;
END $$;
