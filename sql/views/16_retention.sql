-- People by the week in which they first wrote, and how many of them wrote again so many weeks later.
CREATE VIEW analytics.retention AS
  WITH weeks AS (
       SELECT m.user_id, date_trunc('week', m.sent_at) AS week, min(date_trunc('week', m.sent_at)) OVER (PARTITION BY m.user_id) AS first_week
         FROM stenograph_figures.counted_messages AS m
        WHERE m.role = 'user' AND m.user_id IS NOT NULL AND m.origin <> 'copied'
        GROUP BY m.user_id, date_trunc('week', m.sent_at))
SELECT w.first_week AS cohort_week, ((extract(epoch FROM w.week - w.first_week) / 604800)::numeric)::integer AS weeks_later,
       c.people AS cohort_people, count(*) AS people, count(*)::double precision / c.people AS share
  FROM weeks AS w
  JOIN (SELECT first_week, count(*) AS people FROM weeks WHERE week = first_week GROUP BY first_week) AS c USING (first_week)
 GROUP BY w.first_week, w.week, c.people;

COMMENT ON VIEW analytics.retention IS 'People by the week in which they first wrote, and how many of them wrote again so many weeks later.';
COMMENT ON COLUMN analytics.retention.cohort_week IS 'The week, from Monday on, by the time zone of your session.';
COMMENT ON COLUMN analytics.retention.weeks_later IS '0: the same week.';
COMMENT ON COLUMN analytics.retention.cohort_people IS 'How many first wrote in that week.';
COMMENT ON COLUMN analytics.retention.people IS 'How many of them wrote so many weeks later.';
COMMENT ON COLUMN analytics.retention.share IS 'The same as a share, from 0 to 1.';
