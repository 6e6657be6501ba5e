-- Accounts are looked for by their names, which stand in events: a few of each account, among the thousands that note what it has read.
-- Few events are in it: a token writes nothing here.

CREATE INDEX events_of_accounts_key ON events (stream_id, version)
    WHERE type IN ('user_created', 'user_renamed', 'role_changed', 'user_deactivated');
