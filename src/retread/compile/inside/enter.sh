#!/bin/sh
# Enter the rooms of a build, start the compile cache there, run the command without a network.
#   enter.sh <place or -> <network: on|off> <sccache or -> [<from> <to> <ro|rw>]... -- <command>...
# With a place, this runs in a mount namespace of its own: the folders lie where they lie in every build, and nothing
# of it is seen outside. The cache's server stays outside of the network's lock, for caches that are elsewhere.
set -eu
place=$1 network=$2 cache=$3
shift 3
[ "$place" = - ] || mount -t tmpfs -o mode=755 tmpfs "$place"
while [ "$1" != -- ]; do
	mkdir -p "$2"
	mount --bind "$1" "$2"
	# A user's own namespace may not always tighten a mount; the folders are the store's and checked elsewhere.
	[ "$3" = rw ] || mount -o remount,bind,ro "$2" 2>/dev/null || :
	shift 3
done
shift
server=
if [ "$cache" != - ]; then
	SCCACHE_START_SERVER=1 SCCACHE_NO_DAEMON=1 "$cache" >/dev/null 2>"$RETREAD_CACHE_LOG" &
	server=$!
	tries=0
	while ! [ -S "$SCCACHE_SERVER_UDS" ]; do
		kill -0 $server 2>/dev/null && [ $tries -lt 100 ] || {
			echo "retread: the compile cache did not start:" >&2
			cat "$RETREAD_CACHE_LOG" >&2
			exit 97
		}
		tries=$((tries + 1))
		sleep 0.1
	done
fi
code=0
case $network in
off) unshare --net -- "$@" || code=$? ;;
*) "$@" || code=$? ;;
esac
if [ "$server" ]; then
	"$cache" --show-stats --stats-format json >"$RETREAD_CACHE_STATS" 2>/dev/null || :
	kill "$server" 2>/dev/null || :
fi
exit $code
