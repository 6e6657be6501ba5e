-- When each person was last seen. It is no fact of the log: it changes all the time, nobody replays it, and its loss costs nothing.

CREATE TABLE activity (
    user_id        uuid        NOT NULL,
    last_active_at timestamptz NOT NULL,
    CONSTRAINT activity_pkey PRIMARY KEY (user_id)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE ON activity TO stenograph_app;
