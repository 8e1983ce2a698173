{% macro is_full_refresh() %}
{#- Was dbt started with --full-refresh? A macro, so that unit tests can say so. -#}
{{ return(flags.FULL_REFRESH) }}
{% endmacro %}
