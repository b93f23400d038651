#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other. FUZZTIME is the time
# for each (default 20s). What fails is kept by go test under testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
found=0
while read -r pkg target; do
  found=$((found + 1))
  echo "== $pkg $target"
  go test -run='^$' -fuzz="^$target\$" -fuzztime="${FUZZTIME:-20s}" "$pkg"
done < <(go test -json -run='^$' -list='^Fuzz' ./... |
  sed -n 's/.*"Package":"\([^"]*\)".*"Output":"\(Fuzz[A-Za-z0-9_]*\)\\n".*/\1 \2/p')
[ "$found" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "$found fuzz targets held for ${FUZZTIME:-20s} each"
