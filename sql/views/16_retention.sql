-- People by the week in which they first wrote, and how many of them wrote again so many weeks later.
CREATE VIEW analytics.retention AS
SELECT f.week AS cohort_week, ((extract(epoch FROM w.week - f.week) / 604800)::numeric)::integer AS weeks_later,
       c.people AS cohort_people, count(*) AS people, count(*)::double precision / c.people AS share
  FROM (SELECT person_id, min(date_trunc('week', sent_at)) AS week FROM analytics.messages WHERE role = 'user' AND person_id IS NOT NULL GROUP BY person_id) AS f
  JOIN (SELECT DISTINCT person_id, date_trunc('week', sent_at) AS week FROM analytics.messages WHERE role = 'user') AS w USING (person_id)
  JOIN (SELECT week, count(*) AS people
          FROM (SELECT person_id, min(date_trunc('week', sent_at)) AS week FROM analytics.messages
                 WHERE role = 'user' AND person_id IS NOT NULL GROUP BY person_id) AS g
         GROUP BY week) AS c ON c.week = f.week
 GROUP BY f.week, w.week, c.people;

COMMENT ON VIEW analytics.retention IS 'People by the week in which they first wrote, and how many of them wrote again so many weeks later.';
COMMENT ON COLUMN analytics.retention.cohort_week IS 'The week, from Monday on, by the time zone of your session.';
COMMENT ON COLUMN analytics.retention.weeks_later IS '0: the same week.';
COMMENT ON COLUMN analytics.retention.cohort_people IS 'How many first wrote in that week.';
COMMENT ON COLUMN analytics.retention.people IS 'How many of them wrote so many weeks later.';
COMMENT ON COLUMN analytics.retention.share IS 'The same as a share, from 0 to 1.';
