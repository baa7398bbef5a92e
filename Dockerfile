# One image for every process: docker run fraudstream worker start --group fraud-check
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
# For the kernel of the features; the image itself has no compiler.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/fraudstream
ENV PATH=/opt/fraudstream/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE ./
COPY fraudstream fraudstream
COPY models models
COPY migrations migrations
RUN pip install -c constraints.txt .

FROM python:3.11-slim-bookworm
ARG REVISION=""
LABEL org.opencontainers.image.title="fraudstream" \
      org.opencontainers.image.description="Decides payments in real time and exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
RUN useradd --system --uid 10001 --home-dir /var/lib/fraudstream --create-home fraudstream
COPY --from=build /opt/fraudstream /opt/fraudstream
ENV PATH=/opt/fraudstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FRAUDSTREAM_LOG_FORMAT=json \
    FRAUDSTREAM_METRICS_HOST=0.0.0.0 \
    FRAUDSTREAM_METRICS_PORT=9464
WORKDIR /var/lib/fraudstream
USER fraudstream
EXPOSE 9464
# A worker whose loop no longer comes round is unhealthy although its process lives.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "fraudstream.telemetry.health", "9464"]
# A worker drains at SIGTERM; give it longer than FRAUDSTREAM_DRAIN_TIMEOUT_S: docker stop --time 40
STOPSIGNAL SIGTERM
ENTRYPOINT ["fraudstream"]
CMD ["--help"]
