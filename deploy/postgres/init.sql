-- What a database needs before the services' migrations run: the extensions, and for each service a schema and two
-- login roles. `<service>_owner` owns the schema and all in it: migrations use it, and nothing else. `<service>` is what
-- the service runs as: it reads and writes rows and can neither change its tables nor see another's schema.
--
-- Run it in that database as a superuser; running it again changes nothing, and brings a database that an earlier
-- release made, where the service owned its tables, to this state. Passwords arrive as settings of the session, so that
-- none stands in a file:
--
--   PGOPTIONS="-c plumbline.requirements_password=... -c plumbline.requirements_owner_password=... \
--              -c plumbline.search_password=... -c plumbline.search_owner_password=... \
--              -c plumbline.analysis_password=... -c plumbline.analysis_owner_password=..." \
--     psql -d plumbline -v ON_ERROR_STOP=1 -f init.sql
--
-- A role whose password isn't given keeps the one it has.

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;

-- Extensions live in public; nobody else writes there, and nobody but the services comes in.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

DO $$
DECLARE
    service text;
    owner text;
    role text;
    secret text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());

    FOREACH service IN ARRAY ARRAY['requirements', 'search', 'analysis'] LOOP
        owner := service || '_owner';
        FOREACH role IN ARRAY ARRAY[service, owner] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I LOGIN', role);
            END IF;
            secret := current_setting('plumbline.' || role || '_password', true);
            IF secret <> '' THEN
                EXECUTE format('ALTER ROLE %I PASSWORD %L', role, secret);
            END IF;
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
            -- No model and no migration names its schema.
            EXECUTE format('ALTER ROLE %I SET search_path = %I, public', role, service);
        END LOOP;
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), owner);
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM %I', current_database(), service);

        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, owner);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', service, service);

        -- What the owner's migrations make is the service's to use.
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', owner);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I'
                       ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', owner, service, service);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I'
                       ' GRANT USAGE, SELECT ON SEQUENCES TO %I', owner, service, service);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I'
                       ' GRANT EXECUTE ON FUNCTIONS TO %I', owner, service, service);

        -- So is what an earlier release made, when the service owned it.
        IF EXISTS (SELECT FROM pg_class WHERE relowner = service::regrole) THEN
            EXECUTE format('REASSIGN OWNED BY %I TO %I', service, owner);
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', service, service);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', service, service);
            EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', service, service);
            EXECUTE format('REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', service);
            EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %I TO %I', service, service);
        END IF;
    END LOOP;
END
$$;
