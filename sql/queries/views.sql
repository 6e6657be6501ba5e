-- What adapters/postgres/analysts/views.py and analysts.py ask of the schema of analysts, and do to it. {braces} stand for identifiers and literals.

-- name: analyst_views
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('analytics') AND relkind = 'v' ORDER BY relname;

-- name: drop_analyst_schema!
DROP SCHEMA IF EXISTS analytics CASCADE;

-- name: schema_without_our_comment
-- Somebody else's schema of that name is theirs.
SELECT to_regnamespace('analytics') IS NOT NULL
   AND coalesce(obj_description(to_regnamespace('analytics'), 'pg_namespace'), '') NOT LIKE 'Figures for analysts:%';

-- name: analyst_role_exists
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stenograph_analyst');

-- name: create_analyst_role!
CREATE ROLE stenograph_analyst NOLOGIN;

-- name: grant_analysts!
GRANT USAGE ON SCHEMA analytics TO stenograph_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO stenograph_analyst;

-- name: login_exists
SELECT rolcanlogin, pg_has_role(rolname, 'stenograph_analyst', 'MEMBER'), rolsuper FROM pg_roles WHERE rolname = $1;

-- name: create_analyst_login!
CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT {connections} PASSWORD {password};
GRANT stenograph_analyst TO {name};

-- name: change_analyst_login!
ALTER ROLE {name} LOGIN CONNECTION LIMIT {connections} PASSWORD {password};

-- name: bound_analyst_login!
ALTER ROLE {name} SET statement_timeout = {timeout};
ALTER ROLE {name} SET default_transaction_read_only = on;
ALTER ROLE {name} SET idle_in_transaction_session_timeout = {timeout};
ALTER ROLE {name} SET search_path = analytics;
ALTER ROLE {name} SET jit = off; -- compiling takes longer than these queries do

-- name: drop_analyst_login!
DROP ROLE {name};

-- name: set_pseudonyms!
UPDATE analyst_settings SET pseudonyms = $1;

-- name: pseudonyms
SELECT pseudonyms FROM analyst_settings;

-- name: set_model_price!
INSERT INTO model_prices (model_id, since, input_per_million, output_per_million) VALUES ($1, $2, $3, $4)
    ON CONFLICT (model_id, since) DO UPDATE SET input_per_million = excluded.input_per_million,
                                                output_per_million = excluded.output_per_million;

-- name: remove_model_price
DELETE FROM model_prices WHERE model_id = $1 AND since = $2 RETURNING model_id;

-- name: model_prices
SELECT model_id, since, input_per_million, output_per_million FROM model_prices ORDER BY model_id, since;
