#!/bin/sh
# Say whether the kits of a run may be tried on our own machines: run-check.sh RUN
# It has to be a run of this repository's 'wheels', not of a fork's, that nobody's pull request started, for a protected
# branch: there only reviewed code gets. Needs gh with GH_TOKEN, or logged in.
set -eu

run=$1
case $run in '' | *[!0-9]*) echo "run-check: name a run by its number: RUN=..." >&2; exit 2 ;; esac
refuse() { echo "run-check: run $run $1; its kits are not tried here" >&2; exit 2; }
asked=$(gh api "repos/{owner}/{repo}/actions/runs/$run" \
	--jq '[.repository.full_name, .head_repository.full_name, .path, .event, .head_branch] | map(. // "-") | join(" ")') ||
	refuse "is not known"
# shellcheck disable=SC2086 # five words; a branch has no space in its name
set -f -- $asked
[ $# -eq 5 ] || refuse "is not told as it should be: $asked"
[ "$1" = "$2" ] || refuse "is of $2, not of $1"
[ "${3%%@*}" = .github/workflows/wheels.yml ] || refuse "is of the workflow $3, not of wheels.yml"
case $4 in push | workflow_dispatch) ;; *) refuse "was started by a $4" ;; esac
[ "$(gh api "repos/{owner}/{repo}/branches/$5" --jq .protected)" = true ] || refuse "is for $5, which is no protected branch"
