-- Final readings of a day (DuckDB over the files of a partition): in all, by country, by genre, by episode.
SELECT
    CASE
        WHEN grouping(country) = 0 THEN 'country'
        WHEN grouping(genre) = 0 THEN 'genre'
        WHEN grouping(episode_id) = 0 THEN 'episode'
        ELSE 'total'
    END AS kind,
    coalesce(country, genre, episode_id, '') AS name,
    count(*) AS readings,
    avg(completion_rate) AS completion_rate,
    coalesce(avg(is_exit_tag::integer), 0) AS exit_rate,
    count(DISTINCT user_id) AS readers,
    count(DISTINCT session) AS sessions
FROM (
    SELECT
        country,
        coalesce(genre, 'unknown') AS genre,
        episode_id,
        completion_rate,
        is_exit_tag,
        user_id,
        session_id || ' ' || session_start_ms AS session
    FROM read_parquet($1)
) AS readings
GROUP BY GROUPING SETS ((), (country), (genre), (episode_id))
