-- writer: ops__maintain
CREATE TABLE ops.unreferenced_folders (
    hive_table     text NOT NULL,
    folder         text NOT NULL,
    found_at       timestamptz NOT NULL,
    PRIMARY KEY (hive_table, folder)
);
COMMENT ON TABLE ops.unreferenced_folders IS
    'folders that no partition of the Hive table points at, and when that was first seen; removed a day later';
