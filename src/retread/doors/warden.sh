#!/bin/sh
# End the programs of a process that is gone: lines "+ PID", "? PID" (to be asked first) and "- PID" until there are no
# more. Each leads a group, which is killed; who is asked has 20 s to put its things away.
cd /
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
live=' ' asked=' ' tries=0
while read -r how one; do
	case $how in
	+) live="$live$one " ;;
	'?') asked="$asked$one " ;;
	*)
		live="${live%% $one *} ${live#* $one }"
		case $asked in *" $one "*) asked="${asked%% $one *} ${asked#* $one }" ;; esac
		;;
	esac
done
for one in $asked; do kill -TERM "$one"; done
for one in $live; do
	case $asked in *" $one "*) ;; *) kill -KILL "-$one" ;; esac
done
for one in $asked; do
	while [ $tries -lt 200 ] && kill -0 "$one"; do
		sleep 0.1
		tries=$((tries + 1))
	done
	kill -KILL "-$one"
done
