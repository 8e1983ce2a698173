with readings as (
    select * from {{ ref('int_readings_in_cut') }}
),

segments as (
    select
        country,
        device,
        count(*) as final_reading_count,
        count(distinct row(session_id, session_start_ms)) as final_session_count,
        count(distinct user_id) as final_reader_count,
        avg(completion_rate) as completion_rate,
        avg(is_exit_tag::integer) as exit_rate,
        avg(max_scroll_ratio) as scroll_ratio,
        avg(dwell_time_ms) / 1000 as dwell_time_s
    from readings
    group by country, device
),

genres as (
    select
        country,
        device,
        genre,
        row_number() over (
            partition by country, device
            order by count(*) desc, genre collate "C"
        ) as place
    from readings
    where genre is not null
    group by country, device, genre
)

select
    segments.country,
    segments.device,
    segments.final_reading_count,
    segments.final_session_count,
    segments.final_reader_count,
    segments.completion_rate::double precision as segment_avg_completion_rate,
    segments.exit_rate::double precision as segment_exit_rate,
    segments.scroll_ratio::double precision as segment_avg_scroll_ratio,
    segments.dwell_time_s::double precision as segment_avg_dwell_time_s,
    genres.genre as top_genre
from segments
left join genres
    on
        segments.country = genres.country
        and segments.device = genres.device
        and genres.place = 1
