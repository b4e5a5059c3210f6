#!/bin/sh
# Make lock.txt anew: what the tests' own CUDA project is built with, for every Python from 3.11 on.
set -eu
cd "$(dirname "$0")"
printf 'build>=1.3\nsetuptools>=80\n' | ../../../.venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --only-binary :all: - -o lock.txt
