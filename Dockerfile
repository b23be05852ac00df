# One image for every part: `docker run … fraud-streams run`, `… simulate clicks`, `… check`, `… web`, `… alerts`.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements/image.txt requirements/build.txt requirements/
# Before the source, so that a change of the source does not fetch the dependencies again.
RUN python -m venv /opt/fraud \
    && /opt/fraud/bin/pip install --require-hashes --only-binary :all: -r requirements/image.txt \
    && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/fraud/bin/pip install --no-deps dist/*.whl

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/fraud fraud \
    # Bytewax unpickles what it finds in its store: nobody else may write there.
    && install --directory --mode 0700 --owner fraud --group fraud /var/lib/fraud
COPY --from=build /opt/fraud /opt/fraud
# The API is Bytewax's: the health check asks it, and Prometheus may (further processes: 3031, …).
ENV PATH=/opt/fraud/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BYTEWAX_DATAFLOW_API_ENABLED=1 \
    BYTEWAX_DATAFLOW_API_PORT=3030
USER fraud
# `fraud run` keeps its store in ./recovery: mount a volume here.
WORKDIR /var/lib/fraud
EXPOSE 3030
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"BYTEWAX_DATAFLOW_API_PORT\"]}/metrics', timeout=4)"]
ENTRYPOINT ["fraud"]
CMD ["--help"]
