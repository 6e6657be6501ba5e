-- What took words away in a channel: read for who joins it later, so that they are not shown what was gone by then.
CREATE INDEX events_channel_changes_key ON events (stream_id, version)
 WHERE type IN ('message:update', 'message:delete', 'message:reaction:remove', 'channel:update');
-- The replies in all threads of a channel in their order: what of them was not read.
CREATE INDEX events_reply_key ON events (stream_id, version)
 WHERE type IN ('message', 'message_start') AND (data ->> 'parent_id') IS NOT NULL;
-- Where in a channel a person was mentioned, in that person's own stream.
CREATE INDEX events_mentioned_key ON events (stream_id, (data ->> 'channel_id'), ((data ->> 'version')::integer)) WHERE type = 'mentioned';
