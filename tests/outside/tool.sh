#!/bin/sh
# Stands in for a tool of ip6tables: does what /run/tools/behaviour says, and what the tool does
# where that does not exit.
name=${0##*/}
case $name in *save) what=save ;; *) what=restore ;; esac
case $name in *nft*) variant=nft ;; *legacy*) variant=legacy ;; *) variant=$(cat /run/tools/variant) ;; esac
multi=xtables-$variant-multi
real() {
    /run/tools/real/$multi "$name" "$@"
}
. /run/tools/behaviour
exec /run/tools/real/$multi "$name" "$@"
