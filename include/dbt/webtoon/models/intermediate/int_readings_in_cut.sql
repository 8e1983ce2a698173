-- Final readings of the open cut with the genre and tags that were valid when each began (point-in-time join).
select
    reading.session_id,
    reading.session_start_ms,
    reading.episode_id,
    reading.user_id,
    reading.country,
    reading.device,
    reading.is_exit_tag,
    -- numeric sums do not depend on the order of rows, double precision sums do
    reading.completion_rate::numeric as completion_rate,
    reading.max_scroll_ratio::numeric as max_scroll_ratio,
    reading.dwell_time_ms,
    reading.started_at,
    reading.ended_at,
    episode.genre,
    episode.tags
from {{ ref('stg_realtime__readings') }} as reading
inner join {{ ref('int_model_cut') }} as cut
    on
        reading.generation = cut.generation
        and reading.ledger_position <= cut.ledger_position
left join {{ ref('stg_reference__episodes') }} as episode
    on
        reading.episode_id = episode.episode_id
        and reading.started_at >= episode.valid_from
        and reading.started_at < episode.valid_to
