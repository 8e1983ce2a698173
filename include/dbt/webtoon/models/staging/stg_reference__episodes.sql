-- Every version of every episode, valid in [valid_from, valid_to).
select
    episode_id,
    title_id,
    title,
    episode_number,
    genre,
    tags,
    rating,
    launch_date,
    valid_from,
    valid_to
from {{ source('reference', 'episode_metadata') }}
