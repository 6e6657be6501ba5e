-- The schema of analysts: views of rows and of sums over the projection `figures`, none of which holds a word that anybody said. It is
-- made anew, as a whole, whenever one of these files changes and whenever the projection's tables are replaced (adapters/postgres/analysts/views.py).
-- A column may be added at any time; what one means changes only with a new version (17_freshness.sql) and a line in the changelog.
CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'Figures for analysts: no view holds a word that anybody said. Times are shown in the time zone of your session.';

-- What analysts see instead of an id: the same for the same id, and without the key nobody finds the id behind it.
CREATE FUNCTION analytics.pseudonym(id uuid, settings public.analyst_settings) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN settings.pseudonyms THEN encode(substr(sha256(settings.key || uuid_send(id)), 1, 16), 'hex')::uuid ELSE id END;
