#!/bin/sh
# Stands before the host's compiler wherever nvcc or the cache calls it: notes what each pass reads, for the depfile.
# real: @REAL@ @DIGEST@
if [ "${RETREAD_READ:-}" ]; then
	for word; do
		case $word in -E | -c) exec "@REAL@" "$@" -MD -MF "$RETREAD_READ/$$.d" ;; esac
	done
fi
exec "@REAL@" "$@"
