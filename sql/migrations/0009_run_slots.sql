-- Which generations each account runs now, so that an account has a bounded number of them in all processes together. A row is written
-- before its generation begins. It counts until the log has the end of that generation, or its node is gone: nothing has to be written
-- at an end, and nothing is left over by a server that dies.

CREATE TABLE run_slots (
    task_id    uuid NOT NULL,
    user_id    uuid NOT NULL,
    node_id    uuid NOT NULL,
    chat_id    uuid NOT NULL,
    message_id uuid NOT NULL,
    taken_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT run_slots_pkey PRIMARY KEY (task_id)
);
CREATE INDEX run_slots_user_key ON run_slots (user_id);
GRANT SELECT, INSERT, DELETE ON run_slots TO stenograph_app;
