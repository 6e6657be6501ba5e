-- Models, groups, functions and providers have streams of their own. There are few of them, and a server reads all of a kind when it starts:
-- by this index, which holds no chat and no account. NOT VALID: the rows that stand there passed the narrower check.

ALTER TABLE streams DROP CONSTRAINT streams_kind_check;
ALTER TABLE streams ADD CONSTRAINT streams_kind_check
    CHECK (kind IN ('chat', 'channel', 'user', 'model', 'group', 'function', 'provider')) NOT VALID;
CREATE INDEX streams_few_key ON streams (kind) WHERE kind NOT IN ('chat', 'channel', 'user');
