# The service in one image: weights inside, nothing fetched at run time, no root, the file system may be read-only.
#   docker build -t osteon .
#   docker run --read-only -p 8010:8000 -v osteon:/data osteon      then open the sign-in link that the log tells
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/osteon
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
RUN /opt/osteon/bin/python -m pip install -c constraints.txt '.[cluster]'

FROM python:3.11-slim
COPY --from=build /opt/osteon /opt/osteon
RUN install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/opt/osteon/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OSTEON_DATA_DIR=/data \
    OSTEON_LOG=json \
    OSTEON_PUBLIC_URL=http://localhost:8010
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["osteon"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--first-key"]
