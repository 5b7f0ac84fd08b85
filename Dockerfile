# The service and its dependencies, without compiler, pip, torch or training code. deploy/README.md says how to use it.
#   gpu  includes the CUDA libraries; the host needs the driver and NVIDIA's container toolkit
#   cpu  runs anywhere, and is the default target

# The Python version that the tests run on.
ARG BASE=python:3.11-slim-bookworm
# Only the end of an image uses these: a new value rebuilds every layer after it.
ARG VERSION=0.1.0
ARG REVISION=unknown

FROM ${BASE} AS build
WORKDIR /src
COPY deploy/container-install.sh pyproject.toml constraints.txt ./

# PACKAGES: additional packages, such as s3fs for a model store at s3://. Nothing can be installed later.
FROM build AS cpu-dependencies
ARG PACKAGES=
RUN ./container-install.sh dependencies cpu,traces ${PACKAGES}

FROM build AS gpu-dependencies
ARG PACKAGES=
RUN ./container-install.sh dependencies gpu,traces ${PACKAGES}

FROM build AS application
COPY README.md LICENSE ./
COPY app app
RUN ./container-install.sh application

# Shared by both images. Layers that change least come first, so that a new release of the code is a small download.
FROM ${BASE} AS runtime
# Licences of the code and the starter, and the strictest ones for redistribution: x264, x265 and the FFmpeg linked to
# them, in PyAV's wheel.
LABEL org.opencontainers.image.title="Maeum" \
      org.opencontainers.image.description="Arousal from audio, valence from the transcript, emotion from both, for Korean utterances" \
      org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-NC-SA-4.0 AND GPL-2.0-or-later AND LGPL-3.0-or-later"
# The base image contains pip and, in ensurepip, its wheel.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip \
 && install --directory --owner 10001 --group 10001 /cache
COPY model_store/starter /models/starter
# The user has no entry in /etc/passwd and therefore no home.
ENV PATH=/opt/maeum/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MAEUM_HOST=0.0.0.0 \
    MAEUM_PORT=8000 \
    MAEUM_MODEL_STORE=/models \
    MAEUM_MODEL_CACHE=/cache
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["/opt/maeum/bin/python", "-I", "/opt/maeum/is_ready.py"]
ENTRYPOINT ["maeum"]
CMD ["serve"]

FROM runtime AS gpu
LABEL org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-NC-SA-4.0 AND GPL-2.0-or-later AND LGPL-3.0-or-later AND LicenseRef-NVIDIA"
ENV MAEUM_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-dependencies /layer /
COPY deploy/container_is_ready.py /opt/maeum/is_ready.py
COPY --from=application /layer /
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM runtime AS cpu
COPY --from=cpu-dependencies /layer /
COPY deploy/container_is_ready.py /opt/maeum/is_ready.py
COPY --from=application /layer /
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
