-- What stands where in a channel: the messages of the channel itself in their order, and those of each thread. A page of either is read from
-- here, at any length and as of any version; so are the numbers of replies and of what was not read. Few events are in it: an answer of a
-- model in a chat is one, a token none.

CREATE INDEX events_thread_key ON events (stream_id, (coalesce(data ->> 'parent_id', '')), version)
 WHERE type IN ('message', 'message_start');
-- What was pinned in a channel, and when.
CREATE INDEX events_pinned_key ON events (stream_id, version) WHERE type = 'message:pin';
-- The channels that go by grants: nobody's own stream says who may see them.
CREATE INDEX events_standard_channel_key ON events (stream_id) WHERE type = 'channel:created' AND (data ->> 'type') = 'standard';
