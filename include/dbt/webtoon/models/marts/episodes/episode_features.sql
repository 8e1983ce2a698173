-- Every episode of the cut from its totals: all scores decay with as_of, so all are computed, by one factor.
with cut as (
    select * from {{ ref('int_model_cut') }}
),

known as (
    select episode.*
    from {{ ref('stg_reference__episodes') }} as episode
    inner join cut on episode.valid_from <= cut.as_of and episode.valid_to > cut.as_of
),

read as (
    select distinct on (totals.episode_id)
        totals.*,
        round(totals.popularity_weight_sum * {{ popularity_decay("cut") }}, 12) as popularity_score
    from {{ ref('int_episode_totals') }} as totals
    cross join cut
    order by totals.episode_id asc, totals.cut_id desc
),

joined as (
    select
        coalesce(read.episode_id, known.episode_id) as episode_id,
        known.title_id,
        known.title,
        known.episode_number,
        known.genre,
        known.tags,
        known.launch_date,
        known.rating,
        coalesce(read.reading_count, 0) as final_reading_count,
        coalesce(read.reader_count, 0) as final_reader_count,
        read.completion_rate_sum / read.reading_count as completion_rate,
        read.exit_count::numeric / read.reading_count as exit_rate,
        read.scroll_ratio_sum / nullif(read.scroll_count, 0) as scroll_ratio,
        read.dwell_time_ms_sum / read.reading_count / 1000 as dwell_time_s,
        coalesce(read.popularity_score, 0) as popularity_score
    from read
    full outer join known on read.episode_id = known.episode_id
)

select
    episode_id,
    title_id,
    title,
    episode_number,
    genre,
    coalesce(tags, '{}'::text []) as tags,
    launch_date,
    rating::double precision as episode_avg_rating,
    final_reading_count,
    final_reader_count,
    completion_rate::double precision as episode_avg_completion_rate,
    exit_rate::double precision as episode_exit_rate,
    scroll_ratio::double precision as episode_avg_scroll_ratio,
    dwell_time_s::double precision as episode_avg_dwell_time_s,
    popularity_score::double precision as popularity_score,
    case
        when popularity_score > 0
            then row_number() over (order by popularity_score desc, episode_id collate "C")
    end as current_popularity_rank
from joined
