#!/usr/bin/env bash
# Installs what the tests need beyond Go and Node: programs from Debian, npm packages
# at the versions of the lock files, and the Open Policy Agent, built from source.
# What is there already is left alone, so a second run takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in go node npm; do
  if ! command -v "$program" >/dev/null; then
    echo "make test: no $program on this machine; it needs Go 1.26 and Node 20 or later to begin with" >&2
    exit 1
  fi
done

# program:package. gcc and the C headers are what go test -race links with.
missing=()
for part in gcc:gcc git:git strace:strace redis-server:redis-server chromium:chromium nginx:nginx caddy:caddy haproxy:haproxy curl:curl openssl:openssl promtool:prometheus; do
  PATH="$PATH:/usr/sbin" command -v "${part%%:*}" >/dev/null || missing+=("${part##*:}")
done
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)

if [ ${#missing[@]} -gt 0 ]; then
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "make test: missing ${missing[*]}; installing them needs root, and there is no sudo here." >&2
      echo "As root: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    sudo=(sudo)
  fi
  if ! command -v apt-get >/dev/null; then
    echo "make test: missing ${missing[*]}, and there is no apt-get here to install them with" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# npm writes node_modules/.package-lock.json last: older than the lock file, or
# not there, means not installed.
for dir in test/node internal/demo/spa/web; do
  [ -e "$dir/package-lock.json" ] || continue
  installed="$dir/node_modules/.package-lock.json"
  if [ ! -e "$installed" ] || [ "$dir/package-lock.json" -nt "$installed" ]; then
    echo "npm ci in $dir"
    (cd "$dir" && npm ci --no-audit --no-fund --loglevel=error)
    touch "$installed"
  fi
done

# The Open Policy Agent, at the version of its own module, by rename: a test may be
# running the one that is there.
if [ ! -e out/opa ] || [ tools/opa/go.mod -nt out/opa ]; then
  echo "building the Open Policy Agent"
  mkdir -p out
  CGO_ENABLED=0 go build -modfile=tools/opa/go.mod -trimpath -ldflags='-s -w' -o "out/opa.$$" github.com/open-policy-agent/opa
  mv "out/opa.$$" out/opa
fi
