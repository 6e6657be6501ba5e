-- The log, and what is written in the same commit. Everything here is only ever inserted: no counter rows, no updates, so
-- that an old snapshot held open elsewhere (a backup, a long report) costs the writer nothing.

CREATE TABLE streams (
    stream_id uuid NOT NULL,
    kind      text NOT NULL,
    CONSTRAINT streams_pkey PRIMARY KEY (stream_id),
    CONSTRAINT streams_kind_check CHECK (kind IN ('chat', 'channel', 'user'))
);

-- data and actor are json, not jsonb: the bytes are kept as they were written, since they are sent, hashed and exported as they are.
CREATE TABLE events (
    position    bigint      NOT NULL,
    stream_id   uuid        NOT NULL,
    version     integer     NOT NULL,
    type        text        NOT NULL,
    message_id  uuid,
    actor       json,
    data        json        NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT events_stream_version_key UNIQUE (stream_id, version),
    CONSTRAINT events_version_check CHECK (version > 0)
);
-- Folding a long chat does not read its tokens.
CREATE UNIQUE INDEX events_without_deltas_key ON events (stream_id, version) WHERE type <> 'message_delta';

-- Idempotency. `versions` and `position` are the outcome of the request, `answer` what its caller was told besides.
CREATE TABLE commands (
    actor_id     uuid        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    position     bigint      NOT NULL,
    versions     integer[]   NOT NULL,
    answer       json        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    CONSTRAINT commands_pkey PRIMARY KEY (actor_id, key)
);

-- What must be unique: an e-mail address, the first admin, the pair of a dm.
CREATE TABLE claims (
    kind      text NOT NULL,
    key       text NOT NULL,
    stream_id uuid NOT NULL,
    CONSTRAINT claims_pkey PRIMARY KEY (kind, key)
);

CREATE TABLE blobs (
    stream_id uuid  NOT NULL,
    sha256    bytea NOT NULL,
    content   bytea NOT NULL,
    CONSTRAINT blobs_pkey PRIMARY KEY (stream_id, sha256)
);

CREATE TABLE epochs (
    epoch             uuid        NOT NULL,
    system_identifier bigint      NOT NULL,
    timeline          integer     NOT NULL,
    since_position    bigint      NOT NULL,
    recorded_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT epochs_pkey PRIMARY KEY (epoch)
);

-- ALWAYS: not even session_replication_role = replica gets past it.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['streams', 'events', 'commands', 'claims', 'blobs', 'epochs'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name || '_append_only', name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_append_only');
        EXECUTE format('GRANT SELECT, INSERT ON %I TO stenograph_app', name);
    END LOOP;
END
$$;
