{% macro popularity_weight(reading, cut) %}
{#- What a reading weighs at the cut's popularity_epoch, numeric with 12 decimals: the sum is exact whatever the order of
    rows. Below 2^-100 it is 0, so that power() does not underflow. Arguments: aliases of a reading and of the cut. -#}
case
    when {{ reading }}.ended_at - {{ cut }}.popularity_epoch < make_interval(secs => -100 * {{ cut }}.popularity_half_life_hours * 3600)
        then 0::numeric
    else
        round((
            power(
                2::double precision,
                extract(epoch from {{ reading }}.ended_at - {{ cut }}.popularity_epoch)::double precision
                / ({{ cut }}.popularity_half_life_hours * 3600)
            ) * case when {{ reading }}.is_exit_tag then {{ cut }}.popularity_exited_weight else 1 end
        )::numeric, 12)
end
{% endmacro %}

{% macro popularity_decay(cut) %}
{#- Factor, numeric, from a weight at popularity_epoch to its weight at the cut's as_of: the same for all episodes. -#}
power(
    2::double precision,
    -extract(epoch from {{ cut }}.as_of - {{ cut }}.popularity_epoch)::double precision
    / ({{ cut }}.popularity_half_life_hours * 3600)
)::numeric
{% endmacro %}
