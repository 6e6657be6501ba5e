-- Chats and channels, deleted ones too.
CREATE VIEW analytics.conversations AS
SELECT analytics.pseudonym(c.stream_id, a) AS conversation_id, c.kind, c.channel_type, analytics.pseudonym(c.owner_id, a) AS owner_id, c.listed, c.created_at, c.source,
       c.deleted_at
  FROM stenograph_figures.counted_conversations AS c CROSS JOIN public.analyst_settings AS a;

COMMENT ON VIEW analytics.conversations IS 'Chats and channels, deleted ones too.';
COMMENT ON COLUMN analytics.conversations.conversation_id IS 'The chat or channel.';
COMMENT ON COLUMN analytics.conversations.kind IS 'chat or channel.';
COMMENT ON COLUMN analytics.conversations.channel_type IS 'standard, group or dm; null: a chat.';
COMMENT ON COLUMN analytics.conversations.owner_id IS 'Who made it.';
COMMENT ON COLUMN analytics.conversations.listed IS 'False: a chat that was made for one completion and is in no list.';
COMMENT ON COLUMN analytics.conversations.created_at IS 'When it was made; of an imported one as its source says.';
COMMENT ON COLUMN analytics.conversations.source IS 'Where it was imported from; chat: it is a copy; null: it was made here.';
COMMENT ON COLUMN analytics.conversations.deleted_at IS 'When it was deleted; null: it is there.';
