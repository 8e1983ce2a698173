{{ config(post_hook="analyze {{ this }}") }}
-- Final readings, up to the cut, of every reader who has one since the base; all of them where there is no base.
-- is_new: it became final since the base. Genre and tags are those that were valid when the reading began.
with cut as (
    select * from {{ ref('int_model_cut') }}
)

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
    reading.ledger_position > (select cut.base_position from cut) as is_new,
    episode.genre,
    episode.tags
from {{ ref('stg_realtime__readings') }} as reading
inner join {{ ref('int_touched_users') }} as touched on reading.user_id = touched.user_id
left join {{ ref('stg_reference__episodes') }} as episode
    on
        reading.episode_id = episode.episode_id
        and reading.started_at >= episode.valid_from
        and reading.started_at < episode.valid_to
where
    reading.generation = (select cut.generation from cut)
    and reading.ledger_position <= (select cut.ledger_position from cut)
