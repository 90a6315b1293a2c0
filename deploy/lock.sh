#!/usr/bin/env bash
# Writes deploy/requirements.txt: what requirements.in needs beyond uv.lock, pinned, with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
locked=$(mktemp)
trap 'rm -f "$locked"' EXIT
"$uv" export --quiet --frozen --no-dev --extra clickhouse --extra postgres --no-hashes \
    --no-emit-project --no-annotate --no-header --output-file "$locked" >/dev/null
mapfile -t known < <(sed -nE 's/^([a-z0-9._-]+)(\[[a-z,]*\])?==.*/--no-emit-package=\1/p' "$locked" | sort -u)
"$uv" pip compile --quiet deploy/requirements.in --constraint "$locked" "${known[@]}" \
    --generate-hashes --python-version 3.11 --python-platform linux --no-annotate \
    --custom-compile-command deploy/lock.sh --output-file deploy/requirements.txt
