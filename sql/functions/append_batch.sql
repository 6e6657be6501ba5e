-- Appends everything that is waiting: one call, one commit. A procedure that ends in COMMIT, so that the lock is gone when
-- the work is done and not when the client's next message arrives: a client that is stopped in between holds nothing.
--
-- Requests are numbered from 1. Arrays of one length belong together, an element of each describes:
--   p_command_*  one request's idempotency key
--   p_claim_*    one thing that a request claims as unique
--   p_touch_*    one stream that a request appends to, in the order of its answer; expected: n exactly, -1 any, -2 at least one,
--                -2-t the version to which touch t leads, if that is written: the one before it in this batch on the same stream
--   p_type …     one event, in order: of which touch, and its number within that touch
--   p_original   when it was recorded first, for events that are restored; null for others, empty where no event is
-- A batch holds at most one request for each command key and claim, and for each stream but for those that follow another: the caller
-- lets the second one wait. What is followed names a version, or follows another itself, and its request claims nothing.
-- p_asked_before: the same call was made before and its outcome is not known. Then a request without a command whose touches
-- expected version n and find these very events at n+1… was written by that call. One with a command is known by that alone.
--
-- Out: outcomes[request] is 0 written now, 1 written by an earlier asking, 2 repeated (its command was known), 3 mismatch (known
-- with another hash), 4 conflict, 5 claimed by another, 6 the id is that of a stream of another kind.
-- positions[request] is that of its last event, or the log's last where it has none; for 5 and 6 the number of the claim or touch.
-- versions[touch] is the stream's version after the batch, or at a conflict the one it has.
-- answers[request] is JSON: for 1 the time it was recorded, for 2 the first versions, answer and time.
--
-- Under one advisory lock until the commit, so position order is commit order, with no gap. It demands READ COMMITTED: each
-- statement after the lock must see what the one before committed.
--
-- Where the session has set stenograph.node, to the id of its process, the commit announces itself to those that listen: {"node", "head"},
-- and "at" and "events" where they fit into a notification. Only while the queue of notifications is less than half full: a listener
-- that reads nothing would fill it, and no commit that notifies gets through a full one.
CREATE OR REPLACE PROCEDURE append_batch(
    p_requests         integer,
    p_asked_before     boolean,
    p_command_request  integer[],
    p_command_actor    uuid[],
    p_command_key      text[],
    p_command_hash     bytea[],
    p_command_answer   json[],
    p_claim_request    integer[],
    p_claim_kind       text[],
    p_claim_key        text[],
    p_claim_stream     uuid[],
    p_touch_request    integer[],
    p_touch_stream     uuid[],
    p_touch_kind       text[],
    p_touch_expected   integer[],
    p_touch_events     integer[],
    p_event_touch      integer[],
    p_event_number     integer[],
    p_type             text[],
    p_message_id       uuid[],
    p_actor            json[],
    p_data             json[],
    p_original         timestamptz[],
    INOUT outcomes     smallint[] DEFAULT NULL,
    INOUT positions    bigint[] DEFAULT NULL,
    INOUT versions     integer[] DEFAULT NULL,
    INOUT answers      json[] DEFAULT NULL,
    INOUT recorded     timestamptz DEFAULT NULL
) LANGUAGE plpgsql AS $$
DECLARE
    heads     integer[];
    head      integer;
    before    bigint;  -- the log's last position, without this batch
    last      bigint;
    at        timestamptz;
    request   integer;
    written   bigint[];
    accepted  boolean := true;  -- all of it: the common case
    touch     integer;
    previous  integer;
    found     record;
    node      text := current_setting('stenograph.node', true);
    announced text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append_batch demands READ COMMITTED, called in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(7305804402);  -- the append lock

    outcomes := array_fill(0::smallint, ARRAY[p_requests]);
    positions := array_fill(0::bigint, ARRAY[p_requests]);

    IF cardinality(p_command_request) > 0 THEN
        answers := array_fill(NULL::json, ARRAY[p_requests]);
        FOR found IN
            SELECT asked.request, asked.hash = known.request_hash AS same, known.position,
                   json_build_object('versions', known.versions, 'answer', known.answer, 'at', known.recorded_at) AS answer
              FROM unnest(p_command_request, p_command_actor, p_command_key, p_command_hash) AS asked(request, actor_id, key, hash)
              JOIN commands AS known USING (actor_id, key)
        LOOP
            accepted := false;
            outcomes[found.request] := CASE WHEN found.same THEN 2 ELSE 3 END;
            positions[found.request] := found.position;
            answers[found.request] := found.answer;
        END LOOP;
    END IF;

    -- The second look is for who expects more than there is. The first one alone would be right with no bound below, but it
    -- would read every version of the stream that its page of the index holds: a third of the whole call, when measured.
    heads := ARRAY(
        SELECT coalesce((SELECT e.version FROM events AS e WHERE e.stream_id = t.stream_id AND e.version >= t.expected
                          ORDER BY e.version DESC LIMIT 1),
                        (SELECT e.version FROM events AS e WHERE e.stream_id = t.stream_id ORDER BY e.version DESC LIMIT 1),
                        0)
          FROM unnest(p_touch_stream, p_touch_expected) WITH ORDINALITY AS t(stream_id, expected, touch)
         ORDER BY t.touch);
    versions := heads;

    FOR touch IN 1 .. cardinality(heads) LOOP
        request := p_touch_request[touch];
        IF p_touch_expected[touch] <= -3 THEN
            previous := -2 - p_touch_expected[touch];
            p_touch_expected[touch] := p_touch_expected[previous] + p_touch_events[previous];
            IF outcomes[p_touch_request[previous]] = 0 THEN
                heads[touch] := heads[previous] + p_touch_events[previous];
            ELSE
                heads[touch] := heads[previous];
                IF outcomes[request] = 0 THEN
                    accepted := false;
                    outcomes[request] := 4;
                END IF;
            END IF;
            versions[touch] := heads[touch];
        END IF;
        head := heads[touch];
        IF head > 0 AND p_touch_expected[touch] <= 0 AND outcomes[request] IN (0, 4) THEN
            -- Whoever names a version has read the stream under its kind; the others only know an id, which may be anything's.
            IF NOT EXISTS (SELECT FROM streams AS s WHERE s.stream_id = p_touch_stream[touch] AND s.kind = p_touch_kind[touch]) THEN
                accepted := false;
                outcomes[request] := 6;
                positions[request] := touch;
            END IF;
        END IF;
        IF p_touch_expected[touch] <> head AND outcomes[request] = 0
           AND NOT (p_touch_expected[touch] = -1 OR (p_touch_expected[touch] = -2 AND head > 0)) THEN
            accepted := false;
            outcomes[request] := 4;
        END IF;
    END LOOP;

    IF p_asked_before AND NOT accepted THEN
        FOR found IN
            SELECT t.request, max(e.position) AS position, max(e.recorded_at) AS recorded_at
              FROM unnest(p_event_touch, p_event_number, p_type, p_message_id, p_actor, p_data)
                   AS p(touch, number, type, message_id, actor, data)
              JOIN unnest(p_touch_request, p_touch_stream, p_touch_expected) WITH ORDINALITY AS t(request, stream_id, expected, touch) USING (touch)
              LEFT JOIN events AS e ON e.stream_id = t.stream_id AND e.version = t.expected + p.number AND e.type = p.type
                   AND e.message_id IS NOT DISTINCT FROM p.message_id AND e.actor::text IS NOT DISTINCT FROM p.actor::text
                   AND e.data::text = p.data::text
             WHERE outcomes[t.request] = 4 AND t.request <> ALL (p_command_request)
             GROUP BY t.request
            HAVING bool_and(t.expected >= 0 AND e.position IS NOT NULL)
        LOOP
            outcomes[found.request] := 1;
            positions[found.request] := found.position;
            answers := coalesce(answers, array_fill(NULL::json, ARRAY[p_requests]));
            answers[found.request] := to_json(found.recorded_at);
        END LOOP;
    END IF;

    IF cardinality(p_claim_request) > 0 THEN
        FOR found IN
            SELECT asked.request, min(asked.claim) AS claim
              FROM unnest(p_claim_request, p_claim_kind, p_claim_key) WITH ORDINALITY AS asked(request, kind, key, claim)
              JOIN claims USING (kind, key)
             GROUP BY asked.request
        LOOP
            IF outcomes[found.request] = 0 THEN
                accepted := false;
                outcomes[found.request] := 5;
                positions[found.request] := found.claim;
            END IF;
        END LOOP;
    END IF;

    SELECT e.position, e.recorded_at INTO last, at FROM events AS e ORDER BY e.position DESC LIMIT 1;
    last := coalesce(last, 0);
    before := last;
    recorded := greatest(clock_timestamp(), at);  -- time never runs against position

    IF 0 = ANY (heads) THEN
        INSERT INTO streams (stream_id, kind)
        SELECT t.stream_id, t.kind
          FROM unnest(p_touch_request, p_touch_stream, p_touch_kind, p_touch_events, heads) AS t(request, stream_id, kind, events, head)
         WHERE t.head = 0 AND t.events > 0 AND outcomes[t.request] = 0;
    END IF;

    -- SQL gives a batch's rows to the insert in the order of their numbers, since that is how they are unnested.
    IF accepted THEN
        INSERT INTO events (position, stream_id, version, type, message_id, actor, data, recorded_at)
        SELECT last + e.number, p_touch_stream[e.touch], heads[e.touch] + e.in_touch, e.type, e.message_id, e.actor, e.data, recorded
          FROM unnest(p_event_touch, p_event_number, p_type, p_message_id, p_actor, p_data)
               WITH ORDINALITY AS e(touch, in_touch, type, message_id, actor, data, number);
    ELSE
        INSERT INTO events (position, stream_id, version, type, message_id, actor, data, recorded_at)
        SELECT last + row_number() OVER (ORDER BY e.number), p_touch_stream[e.touch], heads[e.touch] + e.in_touch,
               e.type, e.message_id, e.actor, e.data, recorded
          FROM unnest(p_event_touch, p_event_number, p_type, p_message_id, p_actor, p_data)
               WITH ORDINALITY AS e(touch, in_touch, type, message_id, actor, data, number)
         WHERE outcomes[p_touch_request[e.touch]] = 0;
    END IF;
    IF cardinality(p_original) > 0 THEN
        INSERT INTO originals (stream_id, version, recorded_at)
        SELECT p_touch_stream[e.touch], heads[e.touch] + e.in_touch, e.at
          FROM unnest(p_event_touch, p_event_number, p_original) AS e(touch, in_touch, at)
         WHERE e.at IS NOT NULL AND outcomes[p_touch_request[e.touch]] = 0;
    END IF;

    FOR touch IN 1 .. cardinality(heads) LOOP
        request := p_touch_request[touch];
        IF outcomes[request] = 0 THEN
            last := last + p_touch_events[touch];
            positions[request] := last;
            versions[touch] := heads[touch] + p_touch_events[touch];
        ELSIF outcomes[request] = 1 THEN
            versions[touch] := p_touch_expected[touch] + p_touch_events[touch];
        END IF;
    END LOOP;

    IF cardinality(p_claim_request) > 0 THEN
        INSERT INTO claims (kind, key, stream_id)
        SELECT asked.kind, asked.key, asked.stream_id
          FROM unnest(p_claim_request, p_claim_kind, p_claim_key, p_claim_stream) AS asked(request, kind, key, stream_id)
         WHERE outcomes[asked.request] = 0;
    END IF;
    IF cardinality(p_command_request) > 0 THEN
        FOREACH request IN ARRAY p_command_request LOOP
            IF outcomes[request] = 0 AND positions[request] = 0 THEN
                positions[request] := last;  -- nothing to append, only a command to remember
            END IF;
        END LOOP;
        INSERT INTO commands (actor_id, key, request_hash, position, versions, answer, recorded_at)
        SELECT asked.actor_id, asked.key, asked.hash, positions[asked.request],
               ARRAY(SELECT t.version FROM unnest(p_touch_request, versions) WITH ORDINALITY AS t(request, version, touch)
                      WHERE t.request = asked.request ORDER BY t.touch),
               asked.answer, recorded
          FROM unnest(p_command_request, p_command_actor, p_command_key, p_command_hash, p_command_answer)
               AS asked(request, actor_id, key, hash, answer)
         WHERE outcomes[asked.request] = 0;
    END IF;

    IF node <> '' AND last > before AND pg_notification_queue_usage() < 0.5 THEN
        IF last - before <= 40 AND pg_column_size(p_data) + pg_column_size(p_actor) < 7900 THEN  -- else it is not worth an attempt
            -- The planner knows no "before", and takes the index only where it is told that few rows are wanted.
            SELECT json_build_object('node', node, 'head', last, 'at', recorded, 'events', json_agg(w.event))
              INTO announced
              FROM (SELECT json_build_array(e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data) AS event
                      FROM events AS e JOIN streams AS s USING (stream_id)
                     WHERE e.position > before
                     ORDER BY e.position LIMIT 40) AS w;
        END IF;
        IF announced IS NULL OR octet_length(announced) > 7900 THEN
            announced := json_build_object('node', node, 'head', last);
        END IF;
        PERFORM pg_notify((SELECT b.channel FROM bell AS b), announced);
    END IF;

    COMMIT;
END
$$;
