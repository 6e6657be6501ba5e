-- The projection `figures` (projections/figures/): what analysts count. One row for each conversation, message, generation, rating, duel,
-- membership and account, without a word that anybody said. Rows stay when what they count is deleted.
-- Made in a schema of its own, and thrown away with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 2: to be raised when the same events make other rows.

CREATE TABLE counted_conversations (
    stream_id        uuid        NOT NULL,
    kind             text        NOT NULL, -- chat, channel
    channel_type     text,                 -- standard, group, dm
    owner_id         uuid,
    listed           boolean     NOT NULL, -- false: a chat that was made for one completion
    created_at       timestamptz,          -- of an imported chat as its source says
    source           text,                 -- where it was imported from; `chat`: it is a copy
    imported_version integer     NOT NULL, -- what stands below this version was imported or copied; 0: nothing was
    deleted_at       timestamptz,
    CONSTRAINT counted_conversations_pkey PRIMARY KEY (stream_id)
);

CREATE TABLE counted_messages (
    stream_id     uuid        NOT NULL,
    message_id    uuid        NOT NULL,
    version       integer     NOT NULL, -- of the event that added it
    position      bigint      NOT NULL, -- of the same
    user_id       uuid,                 -- who wrote it; of an answer who asked
    role          text        NOT NULL, -- user, assistant, system, webhook
    model_id      text,                 -- that answered; of a question the first model that was asked
    base_model_id text,
    parent_id     uuid,
    kind          text        NOT NULL, -- of its conversation
    listed        boolean     NOT NULL, -- of its conversation
    origin        text        NOT NULL, -- here, imported, copied
    is_generated  boolean     NOT NULL, -- a run wrote it
    sent_at       timestamptz NOT NULL, -- as the message says, which an imported one does; otherwise recorded_at
    recorded_at   timestamptz NOT NULL,
    characters    bigint,               -- of its content; bytes where that is kept by reference; null: it is being generated
    input_tokens  bigint,               -- as the provider said; null: it did not
    output_tokens bigint,
    edits         integer     NOT NULL,
    reactions     integer     NOT NULL,
    deleted_at    timestamptz,
    CONSTRAINT counted_messages_pkey PRIMARY KEY (stream_id, message_id)
);

CREATE TABLE counted_generations (
    stream_id          uuid             NOT NULL,
    message_id         uuid             NOT NULL,
    version            integer          NOT NULL, -- of its message_start
    position           bigint           NOT NULL,
    user_id            uuid,                      -- who asked
    requested_model_id text             NOT NULL,
    model_id           text             NOT NULL,
    base_model_id      text,
    provider_name      text,                      -- that was asked; null: the log does not say
    kind               text             NOT NULL, -- of its conversation
    listed             boolean          NOT NULL, -- of its conversation
    origin             text             NOT NULL, -- here, imported, copied
    is_arena           boolean          NOT NULL, -- an arena was asked, and picked the model
    is_continued       boolean          NOT NULL, -- it goes on from an answer that ended early
    started_at         timestamptz      NOT NULL,
    first_token_at     timestamptz,
    ended_at           timestamptz,               -- null: it is open
    outcome            text             NOT NULL, -- open, completed, failed, cancelled, interrupted
    finish_reason      text,
    error_code         text,
    provider_status    integer,                   -- the HTTP status of a provider that refused
    input_tokens       bigint,
    output_tokens      bigint,
    cached_tokens      bigint,                    -- of the input
    reasoning_tokens   bigint,                    -- of the output
    deltas             integer,
    characters         bigint,                    -- of all deltas, reasoning and tool calls included
    tool_calls         integer,
    retries            integer,                   -- times that the provider refused and was asked again
    first_token_ms     double precision,          -- from here on by the log's own times
    duration_ms        double precision,
    gap_p50_ms         double precision,          -- between two deltas
    gap_p95_ms         double precision,
    gap_p99_ms         double precision,
    gap_max_ms         double precision,
    CONSTRAINT counted_generations_pkey PRIMARY KEY (stream_id, message_id)
);

CREATE TABLE counted_ratings (
    stream_id          uuid        NOT NULL,
    version            integer     NOT NULL, -- of the event that rated
    position           bigint      NOT NULL,
    message_id         uuid        NOT NULL,
    user_id            uuid,
    model_id           text,
    requested_model_id text,                 -- the arena, where one was asked
    rating             smallint    NOT NULL, -- 1 or -1
    rated_at           timestamptz NOT NULL,
    superseded_at      timestamptz,          -- the same person rated the same message again, or took the rating back
    CONSTRAINT counted_ratings_pkey PRIMARY KEY (stream_id, version)
);
-- The rating of a person that a new one supersedes.
CREATE INDEX counted_ratings_message_key ON counted_ratings (stream_id, message_id) WHERE superseded_at IS NULL;

CREATE TABLE counted_duels (
    stream_id       uuid        NOT NULL,
    version         integer     NOT NULL, -- of the rating that decided it
    opponent_id     uuid        NOT NULL, -- the answer beside the rated one
    position        bigint      NOT NULL,
    user_id         uuid,
    winner_model_id text        NOT NULL,
    loser_model_id  text        NOT NULL,
    arena_id        text,
    decided_at      timestamptz NOT NULL,
    CONSTRAINT counted_duels_pkey PRIMARY KEY (stream_id, version, opponent_id)
);

CREATE TABLE counted_memberships (
    stream_id uuid        NOT NULL,
    user_id   uuid        NOT NULL,
    version   integer     NOT NULL, -- of the event by which they joined
    kind      text        NOT NULL, -- channel, group
    role      text        NOT NULL, -- member, manager
    joined_at timestamptz NOT NULL,
    left_at   timestamptz,
    CONSTRAINT counted_memberships_pkey PRIMARY KEY (stream_id, user_id, version)
);

CREATE TABLE counted_people (
    user_id        uuid        NOT NULL,
    role           text        NOT NULL,
    created_at     timestamptz NOT NULL,
    deactivated_at timestamptz,
    CONSTRAINT counted_people_pkey PRIMARY KEY (user_id)
);

-- The answers beside a rated one.
CREATE INDEX counted_messages_parent_key ON counted_messages (stream_id, parent_id) WHERE role = 'assistant';
-- For readers:
-- the projection itself needs none of these, so a replay makes them at its end: all at once is several times quicker.
CREATE INDEX IF NOT EXISTS counted_messages_sent_key ON counted_messages (sent_at);
CREATE INDEX IF NOT EXISTS counted_generations_started_key ON counted_generations (started_at);
CREATE INDEX IF NOT EXISTS counted_ratings_rated_key ON counted_ratings (rated_at);
CREATE INDEX IF NOT EXISTS counted_duels_decided_key ON counted_duels (decided_at);
