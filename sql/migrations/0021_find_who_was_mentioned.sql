-- Whom a message mentions, as their own streams say: an edit tells those whom it begins to mention, and those whom it mentions no more.
CREATE INDEX events_mention_key ON events ((data ->> 'message_id'), stream_id, version) WHERE type IN ('mentioned', 'mention_removed');
