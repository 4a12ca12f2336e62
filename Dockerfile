# syntax=docker/dockerfile:1
# The service without torch, as a user without rights, on a root file system that may be read-only.
#
#   docker build -t alert-classifier .                                          CPU, PostgreSQL
#   docker build -t alert-classifier:gpu --build-arg EXTRAS=gpu,postgres .      CUDA (run with --gpus all)

ARG PYTHON=3.12
# A tag moves. To hold the base to what you have looked at, build with --build-arg BASE=python:3.12-slim@sha256:...
ARG BASE=python:${PYTHON}-slim

FROM ${BASE} AS build
# cpu or gpu, never both: the two runtimes overwrite one another's files
ARG EXTRAS=cpu,postgres
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ONLY_BINARY=:all:
RUN python -m venv /opt/venv
WORKDIR /src

# Dependencies first, by their hashes: a change of the code does not fetch them again. The lock is that of the first extra.
COPY requirements ./requirements
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/pip install --require-hashes --requirement "requirements/${EXTRAS%%,*}.txt"

COPY pyproject.toml README.md LICENSE ./
COPY alert_classifier ./alert_classifier
COPY service ./service
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . \
    && /opt/venv/bin/pip uninstall --yes setuptools \
    && rm /opt/venv/bin/model-export \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM ${BASE} AS runtime
ARG VERSION=dev
LABEL org.opencontainers.image.title="alert-classifier" \
      org.opencontainers.image.description="Real-time classification of ZTF alerts: Kafka and HTTP in, calibrated class probabilities out" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"

RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin classifier \
    && install --directory --owner=classifier --group=classifier /var/lib/alert-classifier
COPY --from=build /opt/venv /opt/venv
COPY --chmod=0755 deploy/docker/entrypoint /usr/local/bin/entrypoint

# Machine code is kept for any processor of this architecture, not only for the one that built the image.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/tmp/numba \
    ALERT_CLASSIFIER_API__HOST=0.0.0.0 \
    ALERT_CLASSIFIER_STORE__URL=sqlite:////var/lib/alert-classifier/alert-classifier.db \
    ALERT_CLASSIFIER_LOG__FORMAT=json

# A small night goes through the whole pipeline: what numba compiles is compiled here and not at every start, and an image
# that can't work is not made. No torch may have come along.
RUN export NUMBA_CACHE_DIR=/opt/numba \
    && alert-classifier model verify \
    && alert-classifier simulate --alerts 20 --out /tmp/night \
    && alert-classifier replay /tmp/night --store sqlite:////tmp/night.db \
    && rm -r /tmp/night* \
    && python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"

USER 10001:10001
WORKDIR /var/lib/alert-classifier
VOLUME /var/lib/alert-classifier
EXPOSE 8000
# SIGTERM drains: what was consumed is published and committed before the process ends.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["entrypoint"]
CMD ["serve"]
