-- What adapters/postgres/preparing/migrate.py says about itself: which files were applied, with which bytes. Everything runs inside its transactions.

-- name: take_migration_lock$
-- The number is ours alone ("steno" in ASCII). Of the transaction, not the session: it is gone with it, also behind a pooler.
SELECT set_config('lock_timeout', :timeout, true), pg_advisory_xact_lock(495857004143);

-- name: create_bookkeeping#
CREATE TABLE IF NOT EXISTS migrations (
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT migrations_pkey PRIMARY KEY (name)
);
CREATE TABLE IF NOT EXISTS functions (
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT functions_pkey PRIMARY KEY (name)
);

-- name: applied_migrations
SELECT name, sha256 FROM migrations ORDER BY name COLLATE "C";

-- name: record_migration!
INSERT INTO migrations (name, sha256) VALUES (:name, :sha256);

-- name: applied_functions
SELECT name, sha256 FROM functions;

-- name: record_function!
INSERT INTO functions (name, sha256) VALUES (:name, :sha256)
    ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, applied_at = excluded.applied_at;

-- name: routines_named
-- All overloads, each as DROP ROUTINE wants it.
SELECT oid::regprocedure::text FROM pg_proc WHERE proname = :name AND pronamespace = current_schema()::regnamespace;

-- name: role_exists$
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stenograph_app');

-- name: create_role#
CREATE ROLE stenograph_app NOLOGIN;

-- name: take_role#
-- Whether it works is asked by doing it: what membership alone permits differs between versions of Postgres.
SET LOCAL ROLE stenograph_app;
RESET ROLE;

-- name: grant_role#
GRANT stenograph_app TO CURRENT_USER;

-- name: known_projections
SELECT name, sha256 FROM projections;

-- name: begin_projection!
-- From the first event on.
INSERT INTO projections (name, sha256) VALUES (:name, :sha256)
    ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, position = 0, moved_at = NULL, owner = NULL, lease_until = NULL,
                                     failed_position = NULL, failure = NULL;

-- name: search_in$
-- For the rest of the transaction.
SELECT set_config('search_path', :path, true);

-- name: forget_projection!
DELETE FROM projections WHERE name = :name;

-- name: hold_projection
-- Until the end of the transaction nobody moves its checkpoint.
SELECT name FROM projections WHERE name = :name FOR UPDATE;

-- name: tables_in
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema) AND relkind = 'r' ORDER BY relname;

-- name: lock_table_exclusively!
-- A table's name is no parameter: here and below, {braces} stand for identifiers.
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;

-- name: drop_schema!
DROP SCHEMA IF EXISTS {schema} CASCADE;

-- name: rename_schema!
ALTER SCHEMA {schema} RENAME TO {name};

-- name: create_schema!
CREATE SCHEMA {schema};

-- name: grant_schema!
GRANT USAGE ON SCHEMA {schema} TO {role};

-- name: grant_tables!
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};

-- name: drop_routine!
DROP ROUTINE {routine};

-- name: current_search_path$
SELECT current_setting('search_path');
