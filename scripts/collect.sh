#!/bin/sh
# Bring what the workflow 'wheels' made of a commit into a folder: collect.sh COMMIT FOLDER
# The wheels with their evidence, and the reports of the GPU runners, each attached to its wheel. Runs of pull requests
# do not count, since anybody can start those. Needs gh with GH_TOKEN, or logged in.
set -eu

commit=$1 folder=$2
[ "$commit" ] || { echo "collect: name the commit: COMMIT=..." >&2; exit 2; }
run=$(gh run list --workflow wheels.yml --commit "$commit" --status success --json databaseId,event \
	--jq '[.[] | select(.event == "push" or .event == "workflow_dispatch")][0].databaseId // empty')
[ "$run" ] || { echo "collect: no run of the workflow 'wheels' for $commit succeeded; start one: gh workflow run wheels.yml" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
gh run download "$run" --dir "$scratch" --pattern 'wheel-*' --pattern 'report-*'
mkdir -p "$folder"
for made in "$scratch"/wheel-*/*; do
	[ ! -f "$made" ] || mv "$made" "$folder/"
done
for report in "$scratch"/report-*/report.json; do
	[ ! -f "$report" ] || "${RETREAD:-retread}" smoke --attach "$report" --out "$folder" >/dev/null
done
ls "$folder"/*.whl
