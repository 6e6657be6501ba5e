-- A decision about a long chat reads the few messages that the command names, and not all of them: each by its own events without
-- what an answer is made of, and its children by their parent (read_relatives). A token writes nothing here.

CREATE INDEX events_of_message_key ON events (stream_id, message_id, version)
 WHERE type <> 'message_delta' AND type <> 'content_block';
CREATE INDEX events_parent_key ON events (stream_id, ((data ->> 'parent_id')::uuid))
 WHERE type IN ('message_added', 'message_start');
