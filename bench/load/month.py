"""Forty days of answers, made by Postgres itself: a log that is long enough for analysts, within a minute or two.

Each chat has one question and one answer of ``DELTAS`` tokens, by one of ``MODELS`` models, and every third one a rating.
"""

from typing import Any, Final

import psycopg

PEOPLE: Final = 500
MODELS: Final = 8
DELTAS: Final = 93
OTHERS: Final = 7  # events of a chat that are no token
EVENTS_EACH: Final = DELTAS + OTHERS
DAYS: Final = 40
PORTION: Final = 5_000  # chats in one statement
PEOPLE_SQL: Final = """
    WITH made AS (INSERT INTO streams (stream_id, kind) SELECT md5('person' || n)::uuid, 'user' FROM generate_series(1, %(people)s) AS n)
    INSERT INTO events (position, stream_id, version, type, data, recorded_at)
    SELECT n, md5('person' || n)::uuid, 1, 'user_created',
           json_build_object('name', 'Person ' || n, 'email', n || '@example.org', 'role', 'user'), now() - make_interval(days => %(days)s)
      FROM generate_series(1, %(people)s) AS n
"""
CHATS_SQL: Final = """
    WITH made AS (
        INSERT INTO streams (stream_id, kind) SELECT md5('chat' || c)::uuid, 'chat' FROM generate_series(%(first)s, %(last)s - 1) AS c)
    INSERT INTO events (position, stream_id, version, type, message_id, actor, data, recorded_at)
    SELECT %(before)s + c * %(each)s + v, md5('chat' || c)::uuid, v,
           CASE v WHEN 1 THEN 'chat_created' WHEN 2 THEN 'message_added' WHEN 3 THEN 'message_start' WHEN 4 THEN 'content_block'
                  WHEN %(each)s - 2 THEN 'message_end'
                  WHEN %(each)s - 1 THEN CASE WHEN c %% 3 = 0 THEN 'message_rated' ELSE 'chat_pinned' END
                  WHEN %(each)s THEN 'chat_unpinned' ELSE 'message_delta' END,
           CASE WHEN v IN (1, %(each)s) OR (v = %(each)s - 1 AND c %% 3 > 0) THEN NULL
                WHEN v = 2 THEN md5('question' || c)::uuid ELSE md5('answer' || c)::uuid END,
           CASE WHEN v IN (1, 2, 3) OR v >= %(each)s - 1 THEN json_build_object('id', p.id, 'name', 'A person', 'role', 'user') END,
           CASE v WHEN 1 THEN json_build_object('owner_id', p.id, 'title', 'A chat')
                  WHEN 2 THEN json_build_object('parent_id', NULL, 'role', 'user', 'content', 'What is a word?')
                  WHEN 3 THEN json_build_object('parent_id', md5('question' || c)::uuid, 'model', m.name, 'requested_model', m.name,
                                                'task_id', md5('task' || c)::uuid, 'node_id', p.id)
                  WHEN 4 THEN json_build_object('index', 0, 'type', 'text')
                  WHEN %(each)s - 2 THEN json_build_object('content', repeat('word ', %(deltas)s), 'blocks', json_build_array(),
                       'sha256', '00', 'finish_reason', 'stop', 'usage',
                       json_build_object('prompt_tokens', 20, 'completion_tokens', %(deltas)s),
                       'timings', json_build_object('first_token_ms', 1.5, 'total_ms', 2.5), 'deltas', %(deltas)s)
                  WHEN %(each)s - 1 THEN CASE WHEN c %% 3 = 0 THEN json_build_object('rating', CASE WHEN c %% 2 = 0 THEN 1 ELSE -1 END)
                                              ELSE '{}'::json END
                  WHEN %(each)s THEN '{}'::json
                  ELSE json_build_object('index', 0, 'text', 'word ') END,
           now() - make_interval(days => %(days)s) + make_interval(days => %(days)s) * ((c * %(each)s + v) / (%(chats)s * %(each)s + 1.0))
      FROM generate_series(%(first)s, %(last)s - 1) AS c CROSS JOIN generate_series(1, %(each)s) AS v
     CROSS JOIN LATERAL (SELECT md5('person' || (c %% %(people)s) + 1)::uuid AS id) AS p
     CROSS JOIN LATERAL (SELECT 'model-' || (c * 7919 %% %(models)s) AS name) AS m
"""


def make(dsn: str, events: int) -> int:
    """A log of about so many, in a database that has none yet. How many there are."""
    chats = max(1, events // EVENTS_EACH)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(PEOPLE_SQL, {"people": PEOPLE, "days": DAYS})
        add(connection, 0, chats, head=PEOPLE, days=DAYS)
        connection.execute("VACUUM ANALYZE events")
    return PEOPLE + chats * EVENTS_EACH


def make_more(dsn: str, events: int) -> None:
    """About so many of this moment, behind everything that the log holds."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        ((head,),) = connection.execute("SELECT max(position) FROM events").fetchall()
        first = head // EVENTS_EACH  # no chat of before has this number
        add(connection, first, first + max(1, events // EVENTS_EACH), head=head, days=0)


def add(connection: "psycopg.Connection[Any]", first: int, last: int, *, head: int, days: int) -> None:
    """The chats from ``first`` to before ``last``, behind the position ``head``, spread over so many days until now."""
    counts = {"people": PEOPLE, "models": MODELS, "deltas": DELTAS, "each": EVENTS_EACH, "days": days, "chats": last}
    counts["before"] = head - first * EVENTS_EACH
    for begin in range(first, last, PORTION):
        connection.execute(CHATS_SQL, {**counts, "first": begin, "last": min(last, begin + PORTION)})
