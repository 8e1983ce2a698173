{{
    config(
        materialized="incremental",
        unique_key=["episode_id", "cut_id"],
        indexes=[{"columns": ["episode_id", "cut_id"], "unique": True}],
        pre_hook="{{ drop_totals_after_base() }}",
        post_hook=["{{ drop_superseded_totals(['episode_id']) }}", "analyze {{ this }}"],
    )
}}
-- depends_on: {{ ref('stg_realtime__readings') }}
-- Sums over the final readings of an episode as of the cut, a row for each episode that the cut changed: those of the
-- base, what became final since added, what left the window of popularity since taken off.
with cut as (
    select * from {{ ref('int_model_cut') }}
),

-- an episode's first reading by a reader; only readings of touched readers can be that
added as (
    select
        reading.*,
        row_number() over (
            partition by reading.episode_id, reading.user_id
            order by reading.is_new, reading.started_at, reading.session_id, reading.session_start_ms
        ) = 1 as is_first_of_reader
    from {{ ref('int_touched_readings') }} as reading
),

changes as (
    select
        added.episode_id,
        1 as reading_count,
        added.is_first_of_reader::integer as reader_count,
        added.completion_rate,
        added.is_exit_tag::integer as exit_count,
        coalesce(added.max_scroll_ratio, 0) as scroll_ratio,
        (added.max_scroll_ratio is not null)::integer as scroll_count,
        added.dwell_time_ms,
        case
            when added.ended_at > cut.popularity_window_start
                then {{ popularity_weight("added", "cut") }}
            else 0
        end as weight
    from added
    cross join cut
    where added.is_new
    {% if is_incremental() %}
    union all
    select
        left_window.episode_id,
        0, 0, 0, 0, 0, 0, 0,
        -{{ popularity_weight("left_window", "cut") }}
    from {{ ref('stg_realtime__readings') }} as left_window
    cross join cut
    where
        left_window.ended_at > (select cut.base_window_start from cut)
        and left_window.ended_at <= (select cut.popularity_window_start from cut)
        and left_window.generation = cut.generation
        and left_window.ledger_position <= cut.base_position
    {% endif %}
),

summed as (
    select
        episode_id,
        sum(reading_count) as reading_count,
        sum(reader_count) as reader_count,
        sum(completion_rate) as completion_rate_sum,
        sum(exit_count) as exit_count,
        sum(scroll_ratio) as scroll_ratio_sum,
        sum(scroll_count) as scroll_count,
        sum(dwell_time_ms) as dwell_time_ms_sum,
        sum(weight) as popularity_weight_sum
    from changes
    group by episode_id
)

select
    summed.episode_id,
    cut.cut_id,
    {% for total in ["reading_count", "reader_count", "exit_count", "scroll_count"] %}
    (summed.{{ total }}{% if is_incremental() %} + coalesce(base.{{ total }}, 0){% endif %})::bigint as {{ total }},
    {% endfor %}
    {% for total in ["completion_rate_sum", "scroll_ratio_sum", "dwell_time_ms_sum", "popularity_weight_sum"] %}
    trim_scale(summed.{{ total }}{% if is_incremental() %} + coalesce(base.{{ total }}, 0){% endif %}) as {{ total }}{{ "," if not loop.last }}
    {% endfor %}
from summed
cross join cut
{% if is_incremental() %}
left join lateral (
    select totals.*
    from {{ this }} as totals
    where totals.episode_id = summed.episode_id and totals.cut_id <= cut.base_cut_id
    order by totals.cut_id desc
    limit 1
) as base on true
{% endif %}
