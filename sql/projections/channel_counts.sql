-- The projection `channel_counts` (projections/channel_counts.py): how many messages stand where in each channel. Made in a schema of its
-- own, and thrown away with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 1: to be raised when the same events make other rows.

-- How many messages that are there were begun in a stretch of versions: by everybody (user_id is all zeros), and by each person.
CREATE TABLE message_counts (
    channel_id uuid    NOT NULL,
    user_id    uuid    NOT NULL,
    stretch    integer NOT NULL, -- of 128 versions: stretch 0 holds the versions 1 to 128
    messages   integer NOT NULL, -- of the channel itself
    replies    integer NOT NULL, -- in its threads
    CONSTRAINT message_counts_pkey PRIMARY KEY (channel_id, user_id, stretch)
);

-- Up to which version the rows above hold each channel.
CREATE TABLE channel_heads (
    channel_id uuid    NOT NULL,
    version    integer NOT NULL,
    CONSTRAINT channel_heads_pkey PRIMARY KEY (channel_id)
);
