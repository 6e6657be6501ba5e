-- When a restored event was recorded first. The log's own time never runs against position, and an event that was brought from
-- another database gets its position now: so the time it had there stands beside it, written by the same call of append_batch.
-- An event without a row here was recorded when its own row says.

CREATE TABLE originals (
    stream_id   uuid        NOT NULL,
    version     integer     NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT originals_pkey PRIMARY KEY (stream_id, version)
);
CREATE TRIGGER originals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON originals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE originals ENABLE ALWAYS TRIGGER originals_append_only;
GRANT SELECT, INSERT ON originals TO stenograph_app;
