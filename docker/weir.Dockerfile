# Weir's own image. From source, with nothing but a Docker Engine and a network:
#
#   docker build -t weir -f docker/weir.Dockerfile .
#
# A context that holds prebuilt/weir gives an image with that program instead; scripts/weir-image.sh makes
# one. Works with BuildKit and with the classic builder.
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
# By this scripts/weir-image.sh finds what the classic builder leaves of a stage.
LABEL dev.weir.stage=build
WORKDIR /src
COPY . .
# aws-lc, the crypto library, is C.
RUN mkdir /out && \
    if [ -x prebuilt/weir ]; then \
        cp prebuilt/weir /out/weir; \
    else \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && \
        cargo build --release --locked && cp target/release/weir /out/weir; \
    fi && \
    /out/weir --version

FROM ${BASE_IMAGE}
COPY --from=build /out/weir /usr/local/bin/weir
# The number that mysqld has in its images, so that both may read the same password files.
RUN mkdir -p /var/lib/weir /etc/weir && chown 999:999 /var/lib/weir
USER 999:999
EXPOSE 6033
ENTRYPOINT []
CMD ["weir", "serve", "--config", "/etc/weir/proxy.toml"]
