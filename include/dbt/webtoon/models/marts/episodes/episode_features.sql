with cut as (
    select * from {{ ref('int_model_cut') }}
),

readings as (
    select * from {{ ref('int_readings_in_cut') }}
),

known as (
    select episode.*
    from {{ ref('stg_reference__episodes') }} as episode
    inner join cut on episode.valid_from <= cut.as_of and episode.valid_to > cut.as_of
),

weighted as (
    select
        readings.*,
        -- rounded before it is summed, so that the sum is exact whatever the order of rows
        case
            when readings.ended_at > cut.as_of - make_interval(secs => cut.popularity_window_days * 86400)
                then round((
                    power(
                        0.5::double precision,
                        extract(epoch from cut.as_of - readings.ended_at)::double precision
                        / (cut.popularity_half_life_hours * 3600)
                    ) * case when readings.is_exit_tag then cut.popularity_exited_weight else 1 end
                )::numeric, 12)
            else 0
        end as popularity_weight
    from readings
    cross join cut
),

read as (
    select
        episode_id,
        count(*) as final_reading_count,
        count(distinct user_id) as final_reader_count,
        avg(completion_rate) as completion_rate,
        avg(is_exit_tag::integer) as exit_rate,
        avg(max_scroll_ratio) as scroll_ratio,
        avg(dwell_time_ms) / 1000 as dwell_time_s,
        sum(popularity_weight) as popularity_score
    from weighted
    group by episode_id
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
        coalesce(read.final_reading_count, 0) as final_reading_count,
        coalesce(read.final_reader_count, 0) as final_reader_count,
        read.completion_rate,
        read.exit_rate,
        read.scroll_ratio,
        read.dwell_time_s,
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
