# The images of this project, one stage each. The heavy layers come first and change least: torch and Ray, then the
# other locked requirements, then our own code as one thin layer, so that a change of code rebuilds seconds of work.
#
#   docker build --target operator -t deepseek-operator .
#   docker build --target worker   -t deepseek-worker .
#   docker build --target worker-horovod -t deepseek-worker-horovod .    (for jobs with backend horovod)
#
# Where TLS is intercepted, pass the certificates with `--secret id=ca-bundle,src=...`: no layer keeps them.
ARG BASE_IMAGE=python:3.11-slim
ARG UV_VERSION=0.13.9
# What Horovod's wheel is built on; an image with the CUDA toolkit and NCCL for HOROVOD_GPU_OPERATIONS=NCCL. See
# docs/horovod.md.
ARG HOROVOD_BUILD_IMAGE=worker-heavy

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/deepseek \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# A read-only root and a foreign uid can never write bytecode, so everything is compiled here, the library included.
RUN python3.11 -m compileall -q -x 'lib2to3/tests' "$(python3.11 -c 'import os; print(os.path.dirname(os.__file__))')" \
 && useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin deepseek

# The locked requirements as files: the layers below are then keyed by what they install, not by all of pyproject.toml.
# worker-heavy.txt holds what makes up nine tenths of the worker image. Their modes are fixed: a checkout's umask would
# otherwise change the layers.
FROM base AS requirements
ARG UV_VERSION
WORKDIR /src
RUN --mount=type=secret,id=ca-bundle \
    if [ -f /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi \
 && python3.11 -m venv /opt/uv \
 && /opt/uv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check "uv==${UV_VERSION}"
COPY docker/install-requirements /requirements/install
COPY pyproject.toml uv.lock ./
RUN export="/opt/uv/bin/uv export --quiet --locked --no-dev --no-emit-project --no-annotate --no-header" \
 && $export --extra operator -o /requirements/operator.txt \
 && $export --extra workloads --extra fast-reads -o /requirements/worker.txt \
 && $export --extra horovod -o /requirements/horovod.txt \
 && /opt/uv/bin/uv export --quiet --locked --no-emit-project --no-annotate --no-header \
        --only-group horovod-build -o /requirements/horovod-build.txt \
 && awk '/^[a-z]/ { heavy = /^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+|ray|pyarrow)==/ } heavy' \
        /requirements/worker.txt > /requirements/worker-heavy.txt \
 && chmod 0775 /requirements/install && chmod 0644 /requirements/*.txt

FROM base AS operator-dependencies
ARG UV_VERSION
COPY --from=requirements /requirements/install /requirements/operator.txt /opt/requirements/
RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/var/cache/uv \
    /opt/requirements/install /opt/requirements/operator.txt

FROM base AS operator-code
COPY operator/deepseek_operator /opt/deepseek/deepseek_operator
COPY workloads/deepseek_workloads/__init__.py /opt/deepseek/deepseek_workloads/__init__.py
COPY workloads/deepseek_workloads/contract /opt/deepseek/deepseek_workloads/contract
COPY workloads/deepseek_workloads/plan /opt/deepseek/deepseek_workloads/plan
RUN python3.11 -m compileall -q /opt/deepseek

FROM operator-dependencies AS operator
COPY --from=operator-code /opt/deepseek /opt/deepseek
USER 1000:1000
ENTRYPOINT ["python", "-m", "deepseek_operator"]

FROM base AS worker-heavy
ARG UV_VERSION
COPY --from=requirements /requirements/install /requirements/worker-heavy.txt /opt/requirements/
RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/var/cache/uv \
    /opt/requirements/install /opt/requirements/worker-heavy.txt
COPY docker/install-compiler /opt/requirements/
RUN /opt/requirements/install-compiler

FROM worker-heavy AS worker-dependencies
ARG UV_VERSION
COPY --from=requirements /requirements/worker.txt /opt/requirements/
RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/var/cache/uv \
    /opt/requirements/install /opt/requirements/worker.txt

FROM base AS worker-code
COPY workloads/deepseek_workloads /opt/deepseek/deepseek_workloads
RUN python3.11 -m compileall -q /opt/deepseek

FROM worker-dependencies AS worker
COPY --from=worker-code /opt/deepseek /opt/deepseek
USER 1000:1000
ENTRYPOINT ["python", "-m", "deepseek_workloads.supervise"]

# Horovod is an extra: no other image depends on these stages. What builds it stays in the first one.
FROM ${HOROVOD_BUILD_IMAGE} AS horovod-wheel
ARG UV_VERSION
ARG HOROVOD_GPU_OPERATIONS=
COPY --from=requirements /requirements/install /requirements/worker-heavy.txt /requirements/worker.txt \
     /requirements/horovod-build.txt /opt/requirements/
COPY docker/install-compiler /opt/requirements/
COPY docker/horovod /opt/horovod
RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/var/cache/uv --mount=type=cache,target=/var/cache/horovod \
    /opt/horovod/build-in-image

FROM worker-dependencies AS worker-horovod-dependencies
ARG UV_VERSION
COPY --from=requirements /requirements/install /requirements/horovod.txt /opt/requirements/
COPY --from=horovod-wheel /opt/wheels /opt/wheels
RUN --mount=type=secret,id=ca-bundle --mount=type=cache,target=/var/cache/uv \
    /opt/requirements/install /opt/requirements/horovod.txt \
 && python3.11 -m venv /tmp/pip \
 && /tmp/pip/bin/python -m pip --python /opt/venv/bin/python install --quiet --no-deps --no-index /opt/wheels/*.whl \
 && rm -rf /tmp/pip /opt/wheels

FROM worker-horovod-dependencies AS worker-horovod
COPY --from=worker-code /opt/deepseek /opt/deepseek
USER 1000:1000
ENTRYPOINT ["python", "-m", "deepseek_workloads.supervise"]
