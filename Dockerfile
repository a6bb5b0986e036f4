# One image for each service, and one for the gateway:
#
#   docker build --build-arg SERVICE=requirements --tag plumbline/requirements .     (or search, analysis)
#   docker build --target gateway --tag plumbline/gateway .
#
# A service listens on 8000. The same image migrates (`python -m plumbline_common.migrate plumbline_<service>`), and that
# of analysis does jobs (`python -m plumbline_analysis.job_worker`). Nothing is downloaded when it runs; the root file
# system may be read-only, with /tmp in memory.
ARG SERVICE=requirements
ARG PYTHON=python:3.11-slim-bookworm
ARG UV=ghcr.io/astral-sh/uv:0.13.9
ARG ENVOY=envoyproxy/envoy:v1.40.0

FROM ${UV} AS uv

FROM ${ENVOY} AS envoy

# What every image stands on: Python without its installers, and a user.
FROM ${PYTHON} AS base
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin plumbline
ENV PATH=/opt/plumbline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp

FROM base AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_PROJECT_ENVIRONMENT=/opt/plumbline \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_PROGRESS=1
WORKDIR /source
ARG SERVICE
# Dependencies first: their layer changes with the lock alone.
COPY pyproject.toml uv.lock ./
COPY libs/common/pyproject.toml libs/common/
COPY services/${SERVICE}/pyproject.toml services/${SERVICE}/
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable --no-install-workspace --package "plumbline-${SERVICE}"
COPY libs/common libs/common
COPY services/${SERVICE} services/${SERVICE}
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable --package "plumbline-${SERVICE}"
# The processor that kernels are compiled for: x86-64-v3 has AVX2. `generic` runs on any.
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=${CPU} \
    NUMBA_CPU_FEATURES=

FROM build AS build-requirements

FROM build AS build-search
RUN NUMBA_CACHE_DIR=/opt/plumbline/share/kernels python -m plumbline_search.prepare /opt/plumbline/share/model

FROM build AS build-analysis
RUN NUMBA_CACHE_DIR=/opt/plumbline/share/kernels python -m plumbline_analysis.prepare

# One of the three stages above.
# hadolint ignore=DL3006
FROM build-${SERVICE} AS built

FROM base AS service
ARG SERVICE
ARG CPU=x86-64-v3
COPY --from=built /opt/plumbline /opt/plumbline
ENV UVICORN_FACTORY=true \
    UVICORN_HOST=0.0.0.0 \
    UVICORN_PORT=8000 \
    UVICORN_ACCESS_LOG=false \
    UVICORN_TIMEOUT_KEEP_ALIVE=30 \
    UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN=10 \
    NUMBA_CPU_NAME=${CPU} \
    NUMBA_CPU_FEATURES= \
    NUMBA_CACHE_DIR=/tmp/kernels \
    PLUMBLINE_KERNELS=/opt/plumbline/share/kernels \
    PLUMBLINE_SEARCH_MODEL_CACHE=/opt/plumbline/share/model
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=180s --retries=6 \
  CMD ["python", "-IS", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="plumbline-${SERVICE}" \
      org.opencontainers.image.description="The ${SERVICE} service of Plumbline, an SRE operations platform" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM service AS service-requirements
CMD ["uvicorn", "plumbline_requirements.main:create_app"]

FROM service AS service-search
CMD ["uvicorn", "plumbline_search.main:create_app"]

FROM service AS service-analysis
CMD ["uvicorn", "plumbline_analysis.main:create_app"]

# Envoy, and the one template that it is configured by. Its health is asked at the admin socket: no request that it counts.
FROM base AS gateway
COPY --from=envoy /usr/local/bin/envoy /usr/local/bin/envoy
COPY deploy/gateway /opt/plumbline/gateway
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
  CMD ["python", "-IS", "-c", "import socket as s; c = s.socket(s.AF_UNIX); c.settimeout(4); c.connect('/tmp/admin.sock'); c.sendall(b'GET /ready HTTP/1.1\\r\\nhost: admin\\r\\nconnection: close\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in c.recv(64))"]
CMD ["python", "-I", "/opt/plumbline/gateway/run.py"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="plumbline-gateway" \
      org.opencontainers.image.description="The gateway of Plumbline, an SRE operations platform" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# hadolint ignore=DL3006
FROM service-${SERVICE}
