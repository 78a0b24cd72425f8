ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
COPY requirements.lock /
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --require-hashes -r /requirements.lock
WORKDIR /app
COPY service service
COPY migrations migrations
# The checkout may have any umask. Byte code is compiled here, because the root file system will be read-only.
RUN chmod -R a+rX . && python -m compileall -q .

FROM ${PYTHON_IMAGE}
# A new volume takes the owner of the directory that it covers.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
 && install --directory --owner app --group app --mode 700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
# A number, so that Kubernetes can see that it is not root.
USER 10001
EXPOSE 8000
CMD ["python", "-m", "service", "serve"]
