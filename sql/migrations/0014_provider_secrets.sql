-- What the server shows to model servers: keys, headers, proxies. They have no place in a log that is replayed and exported; an event names
-- the id under which they stand here. Those that were replaced are deleted: a key that leaked should not lie around.

CREATE TABLE provider_secrets (
    secret_id uuid        NOT NULL,
    secrets   bytea       NOT NULL,
    added_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT provider_secrets_pkey PRIMARY KEY (secret_id)
);

GRANT SELECT, INSERT, DELETE ON provider_secrets TO stenograph_app;
