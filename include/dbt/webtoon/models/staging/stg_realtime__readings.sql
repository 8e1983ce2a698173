-- Final readings: rows of sessions that can no longer change.
select
    session_id,
    session_start_ms,
    episode_id,
    user_id,
    country,
    device,
    platform,
    status,
    is_exit_tag,
    completion_rate,
    max_scroll_ratio,
    scroll_event_count,
    dwell_time_ms,
    started_at,
    ended_at,
    generation,
    ledger_position
from {{ source('realtime', 'session_features') }}
where is_final
