{{
    config(
        materialized="incremental",
        unique_key=["country", "device", "genre", "cut_id"],
        indexes=[{"columns": ["country", "device", "genre", "cut_id"], "unique": True}],
        pre_hook="{{ drop_totals_after_base() }}",
        post_hook=["{{ drop_superseded_totals(['country', 'device', 'genre']) }}", "analyze {{ this }}"],
    )
}}
-- Sums over the final readings of a segment and genre ('' where no episode is known) as of the cut, a row for each that
-- the cut changed: those of the base, and what became final since. A session and a reader count once in a segment, in
-- the genre of their first reading there.
with added as (
    select
        reading.*,
        row_number() over (
            partition by reading.country, reading.device, reading.session_id, reading.session_start_ms
            order by reading.is_new, reading.started_at, reading.episode_id
        ) = 1 as is_first_of_session,
        row_number() over (
            partition by reading.country, reading.device, reading.user_id
            order by reading.is_new, reading.started_at, reading.session_id, reading.session_start_ms, reading.episode_id
        ) = 1 as is_first_of_reader
    from {{ ref('int_touched_readings') }} as reading
),

summed as (
    select
        country,
        device,
        coalesce(genre, '') as genre,
        count(*) as reading_count,
        sum(is_first_of_session::integer) as session_count,
        sum(is_first_of_reader::integer) as reader_count,
        sum(completion_rate) as completion_rate_sum,
        sum(is_exit_tag::integer) as exit_count,
        coalesce(sum(max_scroll_ratio), 0) as scroll_ratio_sum,
        count(max_scroll_ratio) as scroll_count,
        sum(dwell_time_ms) as dwell_time_ms_sum
    from added
    where is_new
    group by country, device, coalesce(genre, '')
)

select
    summed.country,
    summed.device,
    summed.genre,
    cut.cut_id,
    {% for total in ["reading_count", "session_count", "reader_count", "exit_count", "scroll_count"] %}
    (summed.{{ total }}{% if is_incremental() %} + coalesce(base.{{ total }}, 0){% endif %})::bigint as {{ total }},
    {% endfor %}
    {% for total in ["completion_rate_sum", "scroll_ratio_sum", "dwell_time_ms_sum"] %}
    trim_scale(summed.{{ total }}{% if is_incremental() %} + coalesce(base.{{ total }}, 0){% endif %}) as {{ total }}{{ "," if not loop.last }}
    {% endfor %}
from summed
cross join {{ ref('int_model_cut') }} as cut
{% if is_incremental() %}
left join lateral (
    select totals.*
    from {{ this }} as totals
    where
        totals.country = summed.country
        and totals.device = summed.device
        and totals.genre = summed.genre
        and totals.cut_id <= cut.base_cut_id
    order by totals.cut_id desc
    limit 1
) as base on true
{% endif %}
