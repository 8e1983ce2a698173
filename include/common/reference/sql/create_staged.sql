-- What the files say, in the types of the tables that it is compared with.
CREATE TEMPORARY TABLE staged_titles ON COMMIT DROP AS
SELECT title_id, name, genre, tags FROM reference.titles WITH NO DATA;
CREATE TEMPORARY TABLE staged_episodes ON COMMIT DROP AS
SELECT episode_id, title_id, episode_number, rating, launch_date FROM reference.episode_metadata WITH NO DATA;
CREATE TEMPORARY TABLE staged_country_time_zones ON COMMIT DROP AS
SELECT country, time_zone, utc_offset_minutes FROM reference.country_time_zones WITH NO DATA;
CREATE TEMPORARY TABLE staged_experiments ON COMMIT DROP AS
SELECT experiment, variant, share FROM reference.experiments WITH NO DATA;
CREATE TEMPORARY TABLE staged_thresholds ON COMMIT DROP AS
SELECT name, value, unit, meaning, TRUE AS is_given FROM reference.thresholds WITH NO DATA;
