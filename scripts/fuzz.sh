#!/usr/bin/env bash
# Runs every fuzz target, or the named ones, for a while, one after the other:
#
#   scripts/fuzz.sh
#   FUZZTIME=5m scripts/fuzz.sh FuzzCanonical FuzzParse
#
# FUZZTIME is the time for each (default 20s). What fails is kept by go test under
# testdata/fuzz. Of the inputs that reached code that no other had reached, the
# FUZZKEEP smallest (default 16) of at most 2 KiB are kept there, too: from then on
# go test runs them always. FUZZKEEP=0 keeps none.
set -euo pipefail
cd "$(dirname "$0")/.."
time="${FUZZTIME:-20s}"
keep="${FUZZKEEP:-16}"
largest=2048
cache="$(go env GOCACHE)/fuzz"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# keep_corpus PACKAGE TARGET: fills testdata/fuzz/TARGET up to $keep files. Those
# that are there stay: one of them may be what failed once.
keep_corpus() {
  local from="$cache/$1/$2" dir into have
  [ -d "$from" ] || return 0
  dir=$(go list -f '{{.Dir}}' "$1")
  into="$dir/testdata/fuzz/$2"
  have=$(find "$into" -type f 2>/dev/null | wc -l)
  local added=0 size name
  while read -r size name; do
    [ "$((have + added))" -lt "$keep" ] && [ "$size" -le "$largest" ] || break
    [ -e "$into/$name" ] && continue
    mkdir -p "$into"
    install -m 644 "$from/$name" "$into/$name"
    added=$((added + 1))
  done < <(find "$from" -type f -printf '%s %f\n' | sort -n -k1,1 -k2,2)
  echo "corpus: $((have + added)) kept, $added of them new"
  # What is kept has to hold without fuzzing as well.
  [ "$added" -eq 0 ] || go test -count=1 -run="^$2\$" "$1" >"$log" 2>&1 || { cat "$log"; exit 1; }
}

found=0
while read -r pkg target; do
  if [ "$#" -gt 0 ]; then
    case " $* " in *" $target "*) ;; *) continue ;; esac
  fi
  found=$((found + 1))
  echo "== $pkg $target"
  if go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" "$pkg" </dev/null >"$log" 2>&1; then
    grep -E '^fuzz: elapsed' "$log" | tail -n1
  # Before Go 1.27 the coordinator may report its own deadline as a failure when
  # the time is up (golang/go#75804). A real one leaves a failing input.
  elif grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input' "$log"; then
    echo "fuzz: stopped by the deadline, no failing input"
  else
    cat "$log"
    exit 1
  fi
  keep_corpus "$pkg" "$target"
done < <(go test -json -run='^$' -list='^Fuzz' ./... |
  sed -n 's/.*"Package":"\([^"]*\)".*"Output":"\(Fuzz[A-Za-z0-9_]*\)\\n".*/\1 \2/p')
if [ "$#" -gt "$found" ] || [ "$found" -eq 0 ]; then
  echo "expected ${*:-any fuzz target}, found $found of them" >&2
  exit 1
fi
echo "$found fuzz targets held for $time each"
