#!/usr/bin/env bash
# Fails if the demo page that is embedded in the binary is not what its sources
# give. The new build is left in place, to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

web=internal/demo/spa/web
[ -e "$web/package-lock.json" ] || exit 0
# Wherever the build is kept, it is the index.html in a folder called dist.
dist=$(git ls-files 'internal/demo/spa/*dist/index.html' | head -n1)
[ -n "$dist" ] || exit 0
dist=$(dirname "$dist")

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -r "$dist/." "$before"
(cd "$web" && npm run --silent build >/dev/null)
if ! diff -rq "$before" "$dist"; then
  echo "$dist was not built from the sources in $web. It is now: commit it." >&2
  exit 1
fi
