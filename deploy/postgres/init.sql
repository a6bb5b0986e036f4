-- What a database needs before the services' migrations run: the extensions, and for each service a login
-- role and a schema of the same name. Run it in that database as a role that may create them; running it
-- again changes nothing. Passwords arrive as settings of the session, so that none stands in a file:
--
--   PGOPTIONS="-c plumbline.requirements_password=... -c plumbline.search_password=... \
--              -c plumbline.analysis_password=..." psql -d plumbline -v ON_ERROR_STOP=1 -f init.sql
--
-- A service whose password isn't given keeps the one it has.

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;

-- Extensions live in public; nobody else writes there, and nobody but the services comes in.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

DO $$
DECLARE
    service text;
    secret text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());

    FOREACH service IN ARRAY ARRAY['requirements', 'search', 'analysis'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', service);
        END IF;
        secret := current_setting('plumbline.' || service || '_password', true);
        IF secret <> '' THEN
            EXECUTE format('ALTER ROLE %I PASSWORD %L', service, secret);
        END IF;
        EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), service);
        -- The default search path "$user", public finds it, so that no model names its schema.
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, service);
    END LOOP;
END
$$;
