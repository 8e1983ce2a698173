-- $1 generation, $2 batch_id, $3 ledger position
INSERT INTO realtime.session_features AS stored (
    session_id, session_start_ms, episode_id, user_id, country, device, platform, experiments, ui_version,
    status, is_exit_tag, completion_rate, max_scroll_ratio, event_count, scroll_event_count, dwell_time_ms,
    started_at, ended_at, is_final, source_partition, last_offset, last_event_kafka_at,
    generation, batch_id, ledger_position
)
SELECT
    session_id, session_start_ms, episode_id, user_id, country, device, platform, experiments::jsonb, ui_version,
    status, is_exit_tag, completion_rate, max_scroll_ratio, event_count, scroll_event_count, dwell_time_ms,
    started_at, ended_at, is_final, source_partition, last_offset, last_event_kafka_at,
    $1::integer, $2::bigint, $3::bigint
FROM pg_temp.staged
ON CONFLICT (session_id, session_start_ms, episode_id) DO UPDATE SET
    user_id = excluded.user_id,
    country = excluded.country,
    device = excluded.device,
    platform = excluded.platform,
    experiments = excluded.experiments,
    ui_version = excluded.ui_version,
    status = excluded.status,
    is_exit_tag = excluded.is_exit_tag,
    completion_rate = excluded.completion_rate,
    max_scroll_ratio = excluded.max_scroll_ratio,
    event_count = excluded.event_count,
    scroll_event_count = excluded.scroll_event_count,
    dwell_time_ms = excluded.dwell_time_ms,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    is_final = excluded.is_final,
    source_partition = excluded.source_partition,
    last_offset = excluded.last_offset,
    last_event_kafka_at = excluded.last_event_kafka_at,
    generation = excluded.generation,
    batch_id = excluded.batch_id,
    ledger_position = excluded.ledger_position,
    committed_at = excluded.committed_at
WHERE (stored.generation, stored.batch_id) < (excluded.generation, excluded.batch_id)
