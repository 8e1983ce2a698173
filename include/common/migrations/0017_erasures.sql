-- Readers who asked to be forgotten, and what each store has done about it.
CREATE TABLE ops.erasures (
    erasure_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject_digest    text COLLATE "C" NOT NULL UNIQUE,
    subject_encrypted bytea,
    reason            text NOT NULL,
    requested_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at         timestamptz,
    kafka_clear_after timestamptz,
    proven_at         timestamptz,
    CHECK (subject_digest ~ '^[0-9a-f]{64}$'),
    CHECK (proven_at IS NULL OR subject_encrypted IS NULL)
);
COMMENT ON TABLE ops.erasures IS 'writer: privacy__erase_user; one row a reader, kept for good: readers of Kafka filter by it';
COMMENT ON COLUMN ops.erasures.subject_digest IS 'HMAC-SHA-256 of the user_id, hexadecimal; the key is in connection erasure_key';
COMMENT ON COLUMN ops.erasures.subject_encrypted IS
    'the user_id, encrypted with the same key, as long as something has to search for it; NULL once proven_at is set';
COMMENT ON COLUMN ops.erasures.erased_at IS 'when all stores but Kafka had been searched and held nothing';
COMMENT ON COLUMN ops.erasures.kafka_clear_after IS 'by then the topic''s retention has removed what it held; the search is repeated';
COMMENT ON COLUMN ops.erasures.proven_at IS 'when the search after kafka_clear_after found nothing, Kafka included';

CREATE TABLE ops.erasure_steps (
    erasure_id bigint NOT NULL REFERENCES ops.erasures (erasure_id),
    store      text NOT NULL,
    removed    bigint NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    done_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (erasure_id, store)
);
COMMENT ON TABLE ops.erasure_steps IS 'writer: each store''s own writer, a row when it has removed its rows of a reader';
COMMENT ON COLUMN ops.erasure_steps.removed IS 'rows (files for stores of files) that were removed or rewritten; 0 for none';

CREATE TABLE ops.erasure_searches (
    erasure_id  bigint NOT NULL REFERENCES ops.erasures (erasure_id),
    store       text NOT NULL,
    searched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    found       bigint NOT NULL,
    bytes       bigint NOT NULL,
    places      text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (erasure_id, store, searched_at)
);
COMMENT ON TABLE ops.erasure_searches IS 'writer: privacy__erase_user, append only; what a search of each store found';
COMMENT ON COLUMN ops.erasure_searches.bytes IS 'bytes that were looked through, unpacked';
COMMENT ON COLUMN ops.erasure_searches.places IS 'first places where something was found, without the id';
