#!/bin/sh
# Keep one issue on what 'retread watch' found: issue.sh WATCH.json BODY.md
# It is the open one with the label 'watch'; it is opened, brought up to date, or closed when nothing wants attention.
set -eu

told() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
number=$(gh issue list --label watch --state open --limit 1 --json number --jq '.[0].number // empty')
if [ "$(told "$1" attention)" != True ]; then
	[ -z "$number" ] || gh issue close "$number" --comment "Nothing wants attention any more."
elif [ "$number" ]; then
	gh issue edit "$number" --title "$(told "$1" title)" --body-file "$2"
else
	gh label create watch --force --description "what the nightly watch found"
	gh issue create --label watch --title "$(told "$1" title)" --body-file "$2"
fi
