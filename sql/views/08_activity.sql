-- What was written in each period.
CREATE VIEW analytics.activity AS
SELECT p.granularity, date_trunc(p.granularity, m.sent_at) AS period, count(*) AS messages,
       count(*) FILTER (WHERE m.role = 'user') AS questions, count(*) FILTER (WHERE m.role = 'assistant') AS answers,
       count(DISTINCT m.user_id) AS people, count(DISTINCT m.stream_id) AS conversations
  FROM stenograph_figures.counted_messages AS m
 CROSS JOIN (VALUES ('hour'), ('day'), ('week'), ('month')) AS p (granularity)
 WHERE m.origin <> 'copied'
 GROUP BY p.granularity, date_trunc(p.granularity, m.sent_at);

COMMENT ON VIEW analytics.activity IS 'What was written in each period.';
COMMENT ON COLUMN analytics.activity.granularity IS 'hour, day, week or month: choose one.';
COMMENT ON COLUMN analytics.activity.period IS 'When it began, by the time zone of your session (SET timezone = ''Europe/Berlin'').';
COMMENT ON COLUMN analytics.activity.messages IS 'All of them, deleted ones included.';
COMMENT ON COLUMN analytics.activity.questions IS 'Those of people.';
COMMENT ON COLUMN analytics.activity.answers IS 'Those of models.';
COMMENT ON COLUMN analytics.activity.people IS 'Who wrote or asked.';
COMMENT ON COLUMN analytics.activity.conversations IS 'Chats and channels in which something was written.';
