-- Services that are sent the events of a channel. That they are, and by whose wish, is in the channel's stream; here stands what has no place in
-- a log that is replayed and exported (the address, which may hold a key, and the secret that signs), and how far each has come. One process
-- at a time sends for one webhook: it holds a lease, so that the events of a channel come in their order.

CREATE TABLE outgoing_webhooks (
    webhook_id   uuid        NOT NULL,
    channel_id   uuid        NOT NULL,
    secrets      bytea       NOT NULL,
    sent_version integer     NOT NULL,              -- everything of the channel up to it was sent, or was not wanted
    sent         bigint      NOT NULL DEFAULT 0,    -- events that were taken
    sent_at      timestamptz,
    failures     integer     NOT NULL DEFAULT 0,    -- in a row
    failure      text,
    due_at       timestamptz NOT NULL DEFAULT now(),
    node_id      uuid,
    leased_until timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outgoing_webhooks_pkey PRIMARY KEY (webhook_id)
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON outgoing_webhooks TO stenograph_app;
