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
    -- summed as integers, parts per million: the order of adding doubles is another one each time
    sum(round(completion_rate * 1000000)::bigint)::double precision / 1000000 / count(*) AS completion_rate,
    coalesce(avg(is_exit_tag::integer), 0) AS exit_rate
FROM (
    SELECT
        country,
        coalesce(genre, 'unknown') AS genre,
        episode_id,
        completion_rate,
        is_exit_tag
    FROM read_parquet($1)
) AS readings
GROUP BY GROUPING SETS ((), (country), (genre), (episode_id))
