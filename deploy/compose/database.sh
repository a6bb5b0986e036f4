# Roles, schemas and extensions, with the passwords that are mounted as postgres-<role>. Again and again changes nothing.
set -eu
for secret in /run/secrets/postgres-*; do
  role=${secret#/run/secrets/postgres-}
  [ "$role" = postgres ] || PGOPTIONS="${PGOPTIONS:-} -c plumbline.${role}_password=$(cat "$secret")"
done
PGPASSWORD=$(cat /run/secrets/postgres-postgres)
export PGOPTIONS PGPASSWORD
exec psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file /init.sql
