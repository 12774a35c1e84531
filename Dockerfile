# Two images from one lock: `docker build --target service .` and `docker build --target worker .`
# Plain Dockerfile syntax, so that builders without BuildKit do too.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What builds: pip and the members' build backend, in a venv that no image gets.
FROM ${PYTHON_IMAGE} AS build
# There is no compiler here: a version without a wheel for this platform stops the build and names itself.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all:
WORKDIR /src
COPY requirements/build.txt requirements/
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
# Filled with the pip above: images have none.
RUN python -m venv --without-pip /opt/venv

# Dependencies first: their layer outlives every change of our code.
FROM build AS worker-venv
COPY requirements/worker.txt requirements/
RUN /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes -r requirements/worker.txt
COPY worker worker
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist ./worker \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index dist/*.whl

FROM build AS service-venv
COPY requirements/service.txt requirements/
RUN /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes -r requirements/service.txt
# The worker kit too: the service shares its record.
COPY worker worker
COPY service service
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist ./worker ./service \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A fixed number, so that volumes and Kubernetes' runAsNonRoot can refer to it. It owns nothing, our code included.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app
# Empty, and not writable: Celery imports from where it starts.
WORKDIR /app
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS worker
COPY --from=worker-venv /opt/venv /opt/venv
CMD ["celery", "-A", "task_status_worker.demo", "worker", "--loglevel", "INFO"]
# Asks this worker, by way of the broker. Each time is a start of Celery, hence not often.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["task-status-worker", "alive"]

# The last one: what `docker build .` makes.
FROM runtime AS service
COPY --from=service-venv /opt/venv /opt/venv
# Where volumes for keys and passwords may be: Docker gives a new volume the owner and mode that its folder has here.
# Redis, which has another user, reads /users/redis: it contains hashes of passwords.
USER root
RUN install --directory --owner=10001 --group=10001 --mode=0700 /keys /users/service /users/worker \
    && install --directory --owner=10001 --group=10001 --mode=0755 /users/redis
USER 10001:10001
# Within a container loopback is reached by nobody. So it wants a file of keys: TASK_STATUS_API_KEYS_FILE.
ENV TASK_STATUS_BIND=0.0.0.0:8000
EXPOSE 8000
CMD ["task-status", "serve"]
# Not /readyz: a restart of this process mends neither Redis nor a missing worker. `http.client` heeds no proxy settings.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
