# The gateway's image. Two stages: the first installs the packages with their hashes, the second gets the result and
# nothing that could install or build more. Plain Dockerfile: the classic builder and BuildKit both build it.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS builder
ARG PYTHON
ENV PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# Without pip: the base's own pip installs into it and stays behind.
RUN python -m venv --without-pip /opt/irg
# The packages before the code: a change of code rebuilds none of them. Wheels only, so nothing is compiled or run here.
COPY requirements.lock ./
RUN python -m pip --python /opt/irg/bin/python install \
        --require-hashes --no-deps --only-binary=:all: --no-compile -r requirements.lock
COPY app /opt/irg/lib/python${PYTHON}/site-packages/app
RUN printf '#!/opt/irg/bin/python\nimport sys\n\nfrom app.cli import main\n\nsys.exit(main())\n' > /opt/irg/bin/irg \
    && chmod 0755 /opt/irg/bin/irg
# Compiled now, because the running container cannot write; unchecked, because nothing can change under it either.
RUN /opt/irg/bin/python -m compileall -q -j 2 --invalidation-mode unchecked-hash /opt/irg/lib

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="ImageRouter Gateway" \
      org.opencontainers.image.description="Share one ImageRouter key with a team: own keys, exact costs, bytes untouched." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
# pip, and the copy of it that Python keeps for new environments, have no work here. /data is made and owned here, so
# that a new volume on it belongs to the gateway too.
RUN python -m pip uninstall --yes --quiet pip \
    && rm -rf "$(python -c 'import ensurepip, os; print(os.path.dirname(ensurepip.__file__))')" \
    && groupadd --gid 10001 irg \
    && useradd --uid 10001 --gid irg --no-create-home --home-dir /data --shell /usr/sbin/nologin irg \
    && install --directory --owner=irg --group=irg --mode=0700 /data
COPY --from=builder /opt/irg /opt/irg
# What the image is made of, the base's packages included, for those who check it (CycloneDX 1.6).
RUN /opt/irg/bin/python -m app.cli.sbom /opt/irg/sbom.cdx.json
ENV PATH=/opt/irg/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    IRG_HOST=0.0.0.0 \
    IRG_DATABASE_URL=sqlite:////data/gateway.db
USER 10001:10001
# Relative paths start here: ./data is the volume, ./config/gateway.toml can be mounted at /config.
WORKDIR /
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["irg", "health"]
ENTRYPOINT ["irg"]
CMD ["serve"]
