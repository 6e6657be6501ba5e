-- How many bytes each account wrote on each day, in all processes together. It is no fact of the log: what a process has counted in the
-- last second may be lost with it, and nobody replays it.

CREATE TABLE usage_days (
    user_id uuid   NOT NULL,
    day     date   NOT NULL, -- UTC
    bytes   bigint NOT NULL,
    CONSTRAINT usage_days_pkey PRIMARY KEY (user_id, day)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE ON usage_days TO stenograph_app;
