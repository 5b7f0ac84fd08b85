#!/bin/sh
# A step of the image build: fills /layer with files that go on top of the base image. Only the Dockerfile runs it.
#   dependencies EXTRAS [PACKAGE...]  the environment without the project itself, and its SBOM
#   application                       the project itself, without its dependencies
set -eu

environment=/opt/maeum
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Two environments, so that pip itself stays out of the image.
python3 -m venv /tools
python3 -m venv --without-pip "$environment"

install() { # arguments of pip install
  /tools/bin/pip --python "$environment/bin/python" install --no-compile "$@"
}

case $1 in
dependencies)
  extras=$2
  shift 2
  # `app` is not here, so this installs an empty project with its dependencies. An empty README.md is enough, and the
  # real one, which changes more often than the dependencies, would rebuild this layer.
  touch README.md
  install --constraint constraints.txt ".[$extras]"
  # Without our constraints: s3fs needs an older python-dateutil than training.
  [ $# = 0 ] || install "$@"
  # Python is the only command needed; the project's own come with the application.
  find "$environment/bin" ! -type d ! -name 'python*' -delete
  /tools/bin/pip install --constraint constraints.txt cyclonedx-bom
  mkdir -p /layer/usr/share/sbom /layer/opt
  /tools/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
    --output-file /layer/usr/share/sbom/maeum.cdx.json "$environment/bin/python"
  mv "$environment" /layer/opt
  ;;
application)
  install --root /layer --no-deps .
  rm "/layer$environment/bin/maeum-train" # training stays out
  ;;
esac
# Compiled here, because a read-only container cannot write bytecode; unchecked, because copying can change file times.
/tools/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /layer "/layer$environment"
