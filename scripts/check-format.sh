#!/usr/bin/env bash
# Fails if a Go file is not as gofmt would write it.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 -r ls -d 2>/dev/null | xargs -r gofmt -l)
if [ -n "$bad" ]; then
  printf 'not formatted (gofmt -w mends it):\n%s\n' "$bad" >&2
  exit 1
fi
