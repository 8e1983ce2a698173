"""The daily report: one page a day for people, and a short message that links it (DAG report__daily).

- `day`: what is known of a day, and how it compares with the same day of the week before: pure
- `readings`: readings and events of a day, from the published partitions in Hive (DuckDB over their files)
- `operations`: gates, quarantine, freshness, deadlines, the cut and titles, from PostgreSQL
- `texts`, `page`, `*.html.j2`: the message, the page, the index of all days: pure
- `tasks`: the DAG's tasks and form

No personal ids: readers and sessions are counted, never named.
"""
