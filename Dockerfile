# Two images: `--target operator` (the operator and the image service) and `--target agent`.
# BASE is any Debian 12; both stages trust the certificate authorities that it trusts.
ARG BASE=debian:12-slim

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
# pip and uv bring lists of authorities of their own; the base's is the one that counts.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
# The compiler and libvirt's headers build libvirt-python, the one dependency that comes without a wheel.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev libvirt-dev pkg-config python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
WORKDIR /src
COPY requirements.lock ./
COPY crds crds

FROM build AS build-operator
COPY operator operator
RUN /opt/uv/bin/uv venv /opt/nephos \
 && /opt/uv/bin/uv pip install --python /opt/nephos --no-sources --constraints requirements.lock --build-constraints requirements.lock ./crds ./operator

FROM build AS build-agent
COPY node-agent node-agent
RUN /opt/uv/bin/uv venv /opt/nephos \
 && /opt/uv/bin/uv pip install --python /opt/nephos --no-sources --constraints requirements.lock --build-constraints requirements.lock ./crds ./node-agent

FROM ${BASE} AS operator
# qemu-img looks into images before anything else does.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 qemu-utils \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build-operator /opt/nephos /opt/nephos
ENV PATH=/opt/nephos/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["nephos-operator"]

FROM ${BASE} AS agent
# Client libraries only: libvirtd, QEMU and dnsmasq are the host's and outlive this image's containers.
# libnftables looks names of protocols up in netbase's /etc/protocols.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libnftables1 libvirt0 netbase python3 qemu-utils \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build-agent /opt/nephos /opt/nephos
# Python's threads take turns: a heap for each of them costs 3 MB and gains nothing.
ENV PATH=/opt/nephos/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=1
ENTRYPOINT ["nephos-agent"]
