-- The projection `chat_search` (projections/chat_search.py): what searches look through. Made in a schema of its own, and thrown away
-- with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 1: to be raised when the same events make other rows.

-- What searches look through: the words of each message that is whole, as it is now, and of each title (projections/words.py). Those of
-- a chat that its owner has in their list hold one more word, which names the owner: what one person finds is then one look into the
-- index, however much of the same others said.
CREATE TABLE texts (
    chat_id    uuid     NOT NULL,
    ordinal    integer  NOT NULL, -- of the message, which is its key here: the newest stand together; 0: the title
    message_id uuid,
    owner_id   uuid,              -- of the title's row: whose chat it is
    version    integer,           -- of the event that says the text; null: an answer that is being generated, and the title
    content    json,              -- what was said, where an emitter has added to it
    words      tsvector NOT NULL,
    CONSTRAINT texts_pkey PRIMARY KEY (chat_id, ordinal)
);
CREATE INDEX texts_message_key ON texts (chat_id, message_id) WHERE message_id IS NOT NULL;

-- For readers:
-- the projection itself needs none of these, so a replay makes them at its end: all at once is several times quicker.
-- What is new waits in a list that every search reads, too: it is kept short.
CREATE INDEX IF NOT EXISTS texts_words_key ON texts USING gin (words) WITH (gin_pending_list_limit = 256);
