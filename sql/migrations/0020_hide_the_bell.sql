-- Postgres lets every login of a database listen to any channel and notify on it, and has no privilege to take away. What commits announce of
-- themselves holds their events. So the channel has a name that only the application reads: a login for analysts neither hears what people
-- write nor says that something was written. A process of an older version still listens to the old name, and polls the log meanwhile.

CREATE TABLE bell (
    is_only boolean NOT NULL DEFAULT true,
    channel text    NOT NULL,
    CONSTRAINT bell_pkey PRIMARY KEY (is_only),
    CONSTRAINT bell_is_only_check CHECK (is_only)
);
INSERT INTO bell (channel) SELECT 'stenograph_' || replace(gen_random_uuid()::text, '-', '');
GRANT SELECT ON bell TO stenograph_app;
ANALYZE bell;
