-- A client answers a call to its user by the call's id alone, and a decision about a chat reads its open calls and no other: each by an index
-- that holds calls only.
-- The chunks of a direct connection pass through tables of their own on their way from the process that has the tab's connection to the one
-- that runs the answer. They are unlogged: what is there is worth nothing after a crash of Postgres, which ends the answer's server, too.

CREATE INDEX events_call_key ON events ((data ->> 'call_id'), position)
 WHERE type IN ('call', 'call_answered', 'call_expired');
CREATE INDEX events_calls_of_stream_key ON events (stream_id, version)
 WHERE type IN ('call', 'call_answered', 'call_expired');

-- One row for each open direct connection. next_seq is the chunk that is expected next; what waits is bounded.
CREATE UNLOGGED TABLE relays (
    call_id       uuid    NOT NULL,
    user_id       uuid    NOT NULL,
    node_id       uuid    NOT NULL,
    question      bytea   NOT NULL,
    next_seq      integer NOT NULL DEFAULT 0,
    waiting       integer NOT NULL DEFAULT 0,
    waiting_bytes integer NOT NULL DEFAULT 0,
    CONSTRAINT relays_pkey PRIMARY KEY (call_id)
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE relayed_chunks (
    call_id    uuid    NOT NULL,
    seq        integer NOT NULL,
    session_id text,
    chunk      bytea   NOT NULL,
    CONSTRAINT relayed_chunks_pkey PRIMARY KEY (call_id, seq)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON relays, relayed_chunks TO stenograph_app;
