-- A service tells PostgreSQL these limits when it connects. PgBouncer does not pass them on, so each role has them too:
-- the defaults of PLUMBLINE_<SERVICE>_STATEMENT_TIMEOUT_MS and …_LOCK_TIMEOUT_MS.
ALTER ROLE requirements SET statement_timeout = 5000;
ALTER ROLE requirements SET lock_timeout = 2000;
ALTER ROLE requirements SET jit = off;
ALTER ROLE search SET statement_timeout = 5000;
ALTER ROLE search SET lock_timeout = 2000;
ALTER ROLE search SET jit = off;
ALTER ROLE analysis SET statement_timeout = 5000;
ALTER ROLE analysis SET lock_timeout = 2000;
ALTER ROLE analysis SET jit = off;
