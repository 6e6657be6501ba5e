-- Where an account is signed in, so that its owner can see it and end what they do not know; and when a sign-in or an API key was used last.
-- Neither is a fact of the log: addresses and times of use are not to be replayed or exported, and their loss ends nothing. Whether a
-- sign-in still holds stands in the user's stream.

CREATE TABLE sessions (
    token_id   uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    generation integer     NOT NULL,
    address    text        NOT NULL,
    user_agent text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (token_id)
);
CREATE INDEX sessions_user_key ON sessions (user_id, created_at);

CREATE TABLE credential_uses (
    credential_id uuid        NOT NULL,
    last_used_at  timestamptz NOT NULL,
    CONSTRAINT credential_uses_pkey PRIMARY KEY (credential_id)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, DELETE ON sessions TO stenograph_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON credential_uses TO stenograph_app;
