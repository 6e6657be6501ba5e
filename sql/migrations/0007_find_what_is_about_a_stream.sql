-- What happened to a stream itself and not to one of its messages: a few events among the tens of thousands of a long chat. A chat as it
-- was at any moment begins with them, and they were found by reading all that came before (chat_facts).
-- Few events are in it: a token writes nothing here.

CREATE INDEX events_without_message_key ON events (stream_id, version) WHERE message_id IS NULL;
