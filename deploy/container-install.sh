#!/bin/sh
# A step of the image's build: fills /layer with what the image gets on top of its base. Runs nowhere else.
#   dependencies EXTRAS [PACKAGE...]  the environment without the project itself, and the bill of its materials
#   application                       the project itself, without its dependencies
set -eu

environment=/opt/maeum
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Two environments, so that what installs is not installed.
python3 -m venv /tools
python3 -m venv --without-pip "$environment"

install() { # what pip takes
  /tools/bin/pip --python "$environment/bin/python" install --no-compile "$@"
}

case $1 in
dependencies)
  extras=$2
  shift 2
  # Without `app` beside it, the project is a name and what it depends on. Its README changes more often than these do.
  touch README.md
  install --constraint constraints.txt ".[$extras]"
  # Not bound by our versions: s3fs needs an older python-dateutil than the one of training.
  [ $# = 0 ] || install "$@"
  # Of the commands Python alone is needed; the project's own come with it.
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
# A read-only container cannot keep what it compiles. Unchecked, as copying may change the times of files.
/tools/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /layer "/layer$environment"
