-- Who is alive. A beat is a counter that only its node moves: a reader asks whether it changed, never what time it says.
-- open_since: everything that the node runs was started above this position, so whoever finds it dead reads no more log than that.

CREATE TABLE nodes (
    node_id    uuid   NOT NULL,
    beat       bigint NOT NULL,
    open_since bigint NOT NULL,
    CONSTRAINT nodes_pkey PRIMARY KEY (node_id)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE, DELETE ON nodes TO stenograph_app;
