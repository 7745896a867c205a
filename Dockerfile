# syntax=docker/dockerfile:1
# Two targets: `cpu` (the default, a small Debian with one binary) and `cuda` (the same over NVIDIA's runtime).
#
#   docker build --target cpu -t material-transfer .
#   docker build --target cuda -t material-transfer:cuda --build-arg CUDA_COMPUTE_CAP=89 .
#   docker run -p 8000:8000 -v material-transfer:/data material-transfer
#
# Everything the embedded engine needs is inside the binary; nothing is downloaded at run time unless a profile asks for it.

ARG RUST_VERSION=1.95
ARG CUDA_VERSION=12.8.1

FROM rust:${RUST_VERSION}-bookworm AS build-cpu
# `cluster` for many servers on one database (docs/scaling.md).
ARG FEATURES=
WORKDIR /src
COPY . .
# What `--version` shows: docker build --build-arg GIT_COMMIT="$(git rev-parse --short=10 HEAD)"
ARG GIT_COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p cli --features "${FEATURES}" && \
    install -D target/release/material-transfer /out/material-transfer

FROM nvidia/cuda:${CUDA_VERSION}-cudnn-devel-ubuntu22.04 AS build-cuda
ARG RUST_VERSION
# No GPU is seen during a build, so the architecture has to be named: 80 for A100, 86 and 89 for the 30 and 40 series, 90 for H100.
ARG CUDA_COMPUTE_CAP=80
ENV CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP} \
    CARGO_HOME=/usr/local/cargo \
    RUSTUP_HOME=/usr/local/rustup \
    PATH=/usr/local/cargo/bin:${PATH}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends build-essential ca-certificates curl pkg-config && \
    rm -rf /var/lib/apt/lists/* && \
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | \
    sh -s -- -y --profile minimal --default-toolchain "${RUST_VERSION}" --no-modify-path
WORKDIR /src
COPY . .
# What `--version` shows: docker build --build-arg GIT_COMMIT="$(git rev-parse --short=10 HEAD)"
ARG GIT_COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p cli --features cudnn && \
    install -D target/release/material-transfer /out/material-transfer

FROM nvidia/cuda:${CUDA_VERSION}-cudnn-runtime-ubuntu22.04 AS cuda
RUN useradd --system --uid 10001 --home-dir /data --create-home material-transfer
COPY --from=build-cuda /out/material-transfer /usr/local/bin/material-transfer
ENV MATERIAL_TRANSFER_LISTEN=0.0.0.0:8000 \
    MATERIAL_TRANSFER_DATA_DIR=/data \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
VOLUME /data
EXPOSE 8000
# bash speaks TCP by itself, so the image needs no HTTP client.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET /health/live HTTP/1.0\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["material-transfer"]
CMD ["serve"]

FROM debian:bookworm-slim AS cpu
RUN useradd --system --uid 10001 --home-dir /data --create-home material-transfer
COPY --from=build-cpu /out/material-transfer /usr/local/bin/material-transfer
ENV MATERIAL_TRANSFER_LISTEN=0.0.0.0:8000 \
    MATERIAL_TRANSFER_DATA_DIR=/data
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET /health/live HTTP/1.0\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["material-transfer"]
CMD ["serve"]
