# Lite3R on an NVIDIA GPU. PyTorch's wheels bring the CUDA libraries; the host needs a driver and
# the NVIDIA container toolkit. The C compiler is for Triton, which compiles kernels when they run.
#
#     docker build -f docker/cuda.Dockerfile -t lite3r:cuda .
#     docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD":/work lite3r:cuda reconstruct photos --budget 8GB --out garden

FROM python:3.12-slim-bookworm AS build

WORKDIR /source
COPY requirements.txt ./
COPY constraints constraints
COPY packages packages
COPY apps apps
RUN python -m venv /opt/lite3r \
    && /opt/lite3r/bin/pip install --no-cache-dir \
        --index-url https://download.pytorch.org/whl/cu130 -c constraints/cpu.txt torch triton \
    && /opt/lite3r/bin/pip install --no-cache-dir -r requirements.txt \
    && /opt/lite3r/bin/pip install --no-cache-dir "./apps/lite3r-cli[hub,video]"

FROM python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="lite3r" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/lite3r /opt/lite3r
ENV HOME=/tmp
RUN useradd --create-home lite3r
USER lite3r
WORKDIR /work
ENTRYPOINT ["/opt/lite3r/bin/lite3r"]
CMD ["--help"]
