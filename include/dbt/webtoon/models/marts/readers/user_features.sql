{{ config(materialized="incremental", unique_key="user_id", on_schema_change="fail") }}
-- Readers with a reading that became final since the base, from all their readings; others stay as they are.
with readings as (
    select * from {{ ref('int_touched_readings') }}
),

users as (
    select
        user_id,
        count(*) as final_reading_count,
        count(distinct row(session_id, session_start_ms)) as final_session_count,
        avg(completion_rate) as completion_rate,
        avg(is_exit_tag::integer) as exit_rate,
        avg(max_scroll_ratio) as scroll_ratio,
        avg(dwell_time_ms) / 1000 as dwell_time_s
    from readings
    group by user_id
),

genres as (
    select
        user_id,
        genre,
        count(*) as reading_count,
        row_number() over (
            partition by user_id
            order by count(*) desc, sum(completion_rate) desc, genre collate "C"
        ) as place,
        sum(count(*)) over (partition by user_id) as user_reading_count
    from readings
    where genre is not null
    group by user_id, genre
),

-- RF03: sqlfluff takes the collation for a column
tag_counts as (
    select
        readings.user_id,
        tag.tag,
        row_number() over (
            partition by readings.user_id
            order by count(*) desc, tag.tag collate "C" -- noqa: RF03
        ) as place
    from readings
    cross join lateral unnest(readings.tags) as tag (tag)
    group by readings.user_id, tag.tag
),

tags as (
    select
        user_id,
        array_agg(tag order by place) as favourite_tags
    from tag_counts
    where place <= 3
    group by user_id
),

devices as (
    select
        user_id,
        device,
        row_number() over (
            partition by user_id
            order by count(*) desc, device collate "C"
        ) as place
    from readings
    group by user_id, device
),

countries as (
    select
        user_id,
        country,
        row_number() over (
            partition by user_id
            order by count(*) desc, country collate "C"
        ) as place
    from readings
    group by user_id, country
)

select
    users.user_id,
    users.final_reading_count,
    users.final_session_count,
    users.completion_rate::double precision as user_avg_completion_rate,
    users.exit_rate::double precision as user_exit_rate,
    users.scroll_ratio::double precision as user_avg_scroll_ratio,
    users.dwell_time_s::double precision as user_avg_dwell_time_s,
    (users.final_reading_count::numeric / users.final_session_count)::double precision as user_readings_per_session,
    genres.genre as favourite_genre,
    (genres.reading_count / genres.user_reading_count)::double precision as favourite_genre_share,
    coalesce(tags.favourite_tags, '{}'::text []) as favourite_tags,
    devices.device as usual_device,
    countries.country as usual_country
from users
left join genres on users.user_id = genres.user_id and genres.place = 1
left join tags on users.user_id = tags.user_id
inner join devices on users.user_id = devices.user_id and devices.place = 1
inner join countries on users.user_id = countries.user_id and countries.place = 1
