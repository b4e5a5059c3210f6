#!/bin/sh
# Bring what the workflow 'wheels' made of a commit into a folder: collect.sh COMMIT FOLDER
# The wheels with their evidence, the reports of the GPU runners, each attached to its wheel, and release.json, the plan
# of the release; what the run made for platforms that are not in it stays there. Runs of pull requests do not count,
# since anybody can start those. Needs gh with GH_TOKEN, or logged in.
set -eu

commit=$1 folder=$2
[ "$commit" ] || { echo "collect: name the commit: COMMIT=..." >&2; exit 2; }
run=$(gh run list --workflow wheels.yml --commit "$commit" --status success --json databaseId,event \
	--jq '[.[] | select(.event == "push" or .event == "workflow_dispatch")][0].databaseId // empty')
[ "$run" ] || { echo "collect: no run of the workflow 'wheels' for $commit succeeded; start one: gh workflow run wheels.yml" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
gh run download "$run" --dir "$scratch" --pattern 'wheel-*' --pattern 'report-*' --pattern release-plan
plan=$scratch/release-plan/release.json
[ -f "$plan" ] || { echo "collect: run $run left no plan of its release; start 'wheels' again" >&2; exit 2; }
planned() { grep -qF "\"job\": \"$1\"" "$plan"; }
mkdir -p "$folder"
for made in "$scratch"/wheel-*; do
	! planned "${made##*/wheel-}" || mv "$made"/* "$folder/"
done
for tried in "$scratch"/report-*; do
	job=${tried##*/report-}
	! planned "${job%-cc*}" || "${RETREAD:-retread}" smoke --attach "$tried/report.json" --out "$folder" >/dev/null
done
mv "$plan" "$folder/"
ls "$folder"/*.whl
