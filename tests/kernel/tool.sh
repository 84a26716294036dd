#!/bin/sh
# Stands in for ip6tables-save and ip6tables-restore: does what the file beside it says.
here=$(dirname "$0")
if [ "$1" = --version ]; then
    echo "ip6tables v1.8.9 ($(cat "$here/variant" 2>/dev/null || echo nf_tables))"
    exit
fi
. "$here/behaviour"
