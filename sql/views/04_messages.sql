-- Messages of people, models and webhooks, deleted ones too. What stands in a copy of a chat is not counted again.
CREATE VIEW analytics.messages AS
SELECT analytics.pseudonym(m.stream_id, a) AS conversation_id, analytics.pseudonym(m.message_id, a) AS message_id,
       analytics.pseudonym(m.parent_id, a) AS parent_id, m.kind, m.listed, analytics.pseudonym(m.user_id, a) AS person_id, m.role, m.model_id, m.base_model_id, m.is_generated, m.origin = 'imported' AS is_imported,
       m.sent_at, m.recorded_at, m.characters, m.input_tokens, m.output_tokens, m.edits, m.reactions, m.deleted_at
  FROM stenograph_figures.counted_messages AS m CROSS JOIN public.analyst_settings AS a
 WHERE m.origin <> 'copied';

COMMENT ON VIEW analytics.messages IS 'Messages of people, models and webhooks, deleted ones too. What stands in a copy of a chat is not counted again.';
COMMENT ON COLUMN analytics.messages.conversation_id IS 'The chat or channel.';
COMMENT ON COLUMN analytics.messages.message_id IS 'The message.';
COMMENT ON COLUMN analytics.messages.parent_id IS 'What it answers, or the first message of its thread.';
COMMENT ON COLUMN analytics.messages.kind IS 'chat or channel.';
COMMENT ON COLUMN analytics.messages.listed IS 'False: the chat was made for one completion.';
COMMENT ON COLUMN analytics.messages.person_id IS 'Who wrote it; of an answer who asked.';
COMMENT ON COLUMN analytics.messages.role IS 'user, assistant, system or webhook.';
COMMENT ON COLUMN analytics.messages.model_id IS 'That answered; of a question the first model that was asked.';
COMMENT ON COLUMN analytics.messages.base_model_id IS 'Of a custom model: the model that it stands on.';
COMMENT ON COLUMN analytics.messages.is_generated IS 'It was generated here.';
COMMENT ON COLUMN analytics.messages.is_imported IS 'It came from elsewhere.';
COMMENT ON COLUMN analytics.messages.sent_at IS 'When it was sent; of an imported one as it says.';
COMMENT ON COLUMN analytics.messages.recorded_at IS 'When the log got it.';
COMMENT ON COLUMN analytics.messages.characters IS 'Its length; in bytes where it is longer than an event; null: it is being generated.';
COMMENT ON COLUMN analytics.messages.input_tokens IS 'Tokens read for an answer; null: unknown.';
COMMENT ON COLUMN analytics.messages.output_tokens IS 'Tokens of an answer; null: unknown.';
COMMENT ON COLUMN analytics.messages.edits IS 'How often its text was changed.';
COMMENT ON COLUMN analytics.messages.reactions IS 'Reactions that are on it.';
COMMENT ON COLUMN analytics.messages.deleted_at IS 'When it was deleted; null: it is there.';
