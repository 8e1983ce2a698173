CREATE TABLE reference.titles (
    title_id   text COLLATE "C" NOT NULL,
    name       text NOT NULL,
    genre      text NOT NULL,
    tags       text[] NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (title_id, valid_from),
    CHECK (valid_from < valid_to)
);
CREATE TABLE reference.episode_metadata (
    episode_id     text COLLATE "C" NOT NULL,
    title_id       text COLLATE "C" NOT NULL,
    title          text NOT NULL,
    episode_number integer NOT NULL CHECK (episode_number > 0),
    genre          text NOT NULL,
    tags           text[] NOT NULL,
    rating         numeric(4, 2) NOT NULL CHECK (rating BETWEEN 0 AND 10),
    launch_date    date NOT NULL,
    valid_from     timestamptz NOT NULL,
    valid_to       timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (episode_id, valid_from),
    CHECK (valid_from < valid_to)
);
CREATE TABLE reference.country_time_zones (
    country            text COLLATE "C" NOT NULL,
    time_zone          text NOT NULL,
    utc_offset_minutes integer NOT NULL,
    valid_from         timestamptz NOT NULL,
    valid_to           timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (country, valid_from)
);
CREATE TABLE reference.experiments (
    experiment       text COLLATE "C" NOT NULL,
    variant          text COLLATE "C" NOT NULL,
    share            numeric(6, 5) NOT NULL CHECK (share BETWEEN 0 AND 1),
    valid_from       timestamptz NOT NULL,
    valid_to         timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (experiment, variant, valid_from)
);
-- Settings of the model that people change without a deployment (half-life, weights, gate limits).
CREATE TABLE reference.thresholds (
    name       text COLLATE "C" NOT NULL,
    value      double precision NOT NULL,
    unit       text NOT NULL,
    meaning    text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (name, valid_from)
);
