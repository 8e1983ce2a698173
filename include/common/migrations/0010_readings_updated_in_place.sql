-- ledger_position changes with every update of a reading; being in an index, it kept PostgreSQL from updating in place
-- (HOT), so that each update wrote to all four indexes. A cut reads nearly all final rows and needs no index for it.
DROP INDEX realtime.session_features_final_position;
