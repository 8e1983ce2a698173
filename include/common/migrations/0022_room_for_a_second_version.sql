-- Every reading is written at least twice, open and final. With a page half full when it is filled, the second version
-- stands on the first one's page (HOT) and no index is written to; at 70 % four updates of ten went elsewhere, when many
-- sessions end in one micro-batch.
ALTER TABLE realtime.session_features SET (fillfactor = 50);
ALTER TABLE IF EXISTS realtime_shadow.session_features SET (fillfactor = 50);
ALTER TABLE IF EXISTS realtime_retired.session_features SET (fillfactor = 50);
