-- Where each projection stands. Its tables are in a schema of its own (sql/projections/), derived from the log and no part of it:
-- they are made, replaced and dropped by whoever migrates or rebuilds, never here.

CREATE TABLE projections (
    name            text        NOT NULL,
    sha256          text        NOT NULL,            -- of the file that made its tables
    position        bigint      NOT NULL DEFAULT 0,  -- the checkpoint: the tables hold every event up to it
    moved_at        timestamptz,
    paused          boolean     NOT NULL DEFAULT false,
    owner           uuid,                            -- the one process that writes it now …
    lease_until     timestamptz,                     -- … unless it stays silent for longer
    failed_position bigint,                          -- the event that could not be projected: it waits there
    failure         text,
    CONSTRAINT projections_pkey PRIMARY KEY (name)
);
GRANT SELECT, UPDATE ON projections TO stenograph_app;
