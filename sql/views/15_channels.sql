-- What was written in each channel.
CREATE VIEW analytics.channels AS
SELECT p.granularity, date_trunc(p.granularity, m.sent_at) AS period,
       analytics.pseudonym(m.stream_id, a) AS channel_id, count(*) AS messages,
       count(*) FILTER (WHERE m.parent_id IS NOT NULL AND m.role <> 'assistant') AS replies,
       count(*) FILTER (WHERE m.role = 'assistant') AS answers, sum(m.reactions) AS reactions, count(DISTINCT m.user_id) AS people
  FROM stenograph_figures.counted_messages AS m CROSS JOIN public.analyst_settings AS a
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 WHERE m.kind = 'channel'
 GROUP BY p.granularity, date_trunc(p.granularity, m.sent_at), m.stream_id, a.*;

COMMENT ON VIEW analytics.channels IS 'What was written in each channel.';
COMMENT ON COLUMN analytics.channels.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.channels.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.channels.channel_id IS 'The channel.';
COMMENT ON COLUMN analytics.channels.messages IS 'All of them.';
COMMENT ON COLUMN analytics.channels.replies IS 'Those in threads, of people and webhooks.';
COMMENT ON COLUMN analytics.channels.answers IS 'Those of models.';
COMMENT ON COLUMN analytics.channels.reactions IS 'That are on them.';
COMMENT ON COLUMN analytics.channels.people IS 'Who wrote or asked.';
