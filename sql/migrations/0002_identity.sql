-- Hashes of passwords and keys have no place in a log that is replayed and exported. Rows are only ever added; the newest
-- password of a user counts, and whether a key still counts stands in the user's stream.

CREATE TABLE passwords (
    user_id       uuid        NOT NULL,
    added_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    password_hash text        NOT NULL,
    CONSTRAINT passwords_pkey PRIMARY KEY (user_id, added_at)
);

CREATE TABLE api_keys (
    key_hash bytea NOT NULL,
    key_id   uuid  NOT NULL,
    user_id  uuid  NOT NULL,
    CONSTRAINT api_keys_pkey PRIMARY KEY (key_hash)
);

CREATE TABLE secrets (
    name  text  NOT NULL,
    value bytea NOT NULL,
    CONSTRAINT secrets_pkey PRIMARY KEY (name)
);

-- One-use tickets live for seconds: they are taken by deleting them.
CREATE TABLE tickets (
    ticket_hash bytea       NOT NULL,
    user_id     uuid        NOT NULL,
    session     json        NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT tickets_pkey PRIMARY KEY (ticket_hash)
);

GRANT SELECT, INSERT ON passwords, api_keys, secrets TO stenograph_app;
GRANT SELECT, INSERT, DELETE ON tickets TO stenograph_app;
