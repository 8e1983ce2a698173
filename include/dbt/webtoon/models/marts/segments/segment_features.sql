-- Every segment of the cut from its totals.
with totals as (
    select distinct on (country, device, genre) *
    from {{ ref('int_segment_totals') }}
    order by country asc, device asc, genre asc, cut_id desc
),

segments as (
    select
        country,
        device,
        sum(reading_count) as reading_count,
        sum(session_count) as session_count,
        sum(reader_count) as reader_count,
        sum(completion_rate_sum) as completion_rate_sum,
        sum(exit_count) as exit_count,
        sum(scroll_ratio_sum) as scroll_ratio_sum,
        sum(scroll_count) as scroll_count,
        sum(dwell_time_ms_sum) as dwell_time_ms_sum
    from totals
    group by country, device
),

genres as (
    select
        country,
        device,
        genre,
        row_number() over (
            partition by country, device
            order by reading_count desc, genre collate "C"
        ) as place
    from totals
    where genre != ''
)

select
    segments.country,
    segments.device,
    segments.reading_count::bigint as final_reading_count,
    segments.session_count::bigint as final_session_count,
    segments.reader_count::bigint as final_reader_count,
    (segments.completion_rate_sum / segments.reading_count)::double precision as segment_avg_completion_rate,
    (segments.exit_count / segments.reading_count)::double precision as segment_exit_rate,
    (segments.scroll_ratio_sum / nullif(segments.scroll_count, 0))::double precision as segment_avg_scroll_ratio,
    (segments.dwell_time_ms_sum / segments.reading_count / 1000)::double precision as segment_avg_dwell_time_s,
    genres.genre as top_genre
from segments
left join genres
    on
        segments.country = genres.country
        and segments.device = genres.device
        and genres.place = 1
