# Lite3R on a CPU.
#
#     docker build -f docker/cpu.Dockerfile -t lite3r:cpu .
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work lite3r:cpu reconstruct photos --out garden
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work lite3r:cpu view garden

FROM python:3.12-slim-bookworm AS build

WORKDIR /source
COPY requirements.txt ./
COPY constraints constraints
COPY packages packages
COPY apps apps
RUN python -m venv /opt/lite3r \
    && /opt/lite3r/bin/pip install --no-cache-dir \
        --index-url https://download.pytorch.org/whl/cpu -c constraints/cpu.txt torch \
    && /opt/lite3r/bin/pip install --no-cache-dir -r requirements.txt \
    && /opt/lite3r/bin/pip install --no-cache-dir "./apps/lite3r-cli[hub,video]"

FROM python:3.12-slim-bookworm

LABEL org.opencontainers.image.title="lite3r" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/lite3r /opt/lite3r
ENV HOME=/tmp
RUN useradd --create-home lite3r
USER lite3r
WORKDIR /work
ENTRYPOINT ["/opt/lite3r/bin/lite3r"]
CMD ["--help"]
