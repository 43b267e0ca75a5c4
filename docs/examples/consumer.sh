#!/bin/sh
# A consumer for `lockstep-reorder --sink 'exec:consumer.sh OUTBOX'`: appends each record to a file and answers it.
# The position is what stands behind "epoch" and "offset" in its line; within strings quotes are escaped.
while IFS= read -r record; do
  printf '%s\n' "$record" >>"$1" || exit 1
  printf '{"done":"%s"}\n' "$(printf '%s' "$record" | sed 's/.*"epoch":\([0-9]*\),"offset":\([0-9]*\),.*/\1:\2/')"
done
