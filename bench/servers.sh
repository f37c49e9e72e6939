#!/bin/sh
# Other rerank servers and ours over HTTP, on the same pairs.
#
#     bench/servers.sh HARNESS MODEL PAIRS.tsv [servers.py options]
#
# HARNESS is the folder of the peer harness (servers.py); PYTHON the
# interpreter of its environment, with infinity-emb in the environment beside
# it; PEERS_CACHE where it keeps derived models. Every server gets the first
# CPU alone, its client the others. Ours is measured in fp32, bf16 and int8,
# with every other setting left at its default, by the dialect of TEI. `null`
# answers nothing at once: what the client can do at most. Raw results go to
# bench/results/servers-CPU-DATE.jsonl and the printed tables to .md beside
# it. Build first (./run build); give it a quiet machine.
set -eu
[ $# -ge 3 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
harness=$1 model=$2 pairs=$3
shift 3
program=${CROSSRANK:-$here/../build/crossrank}
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1 |
    tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
out=$here/results/servers-${cpu:-cpu}-$(date -u +%Y%m%dT%H%M%S)

measure() {
    "${PYTHON:-python3}" "$harness/servers.py" "$model" "$pairs" \
        --threads 1 --json "$out.jsonl" "$@" | grep '^|' >>"$out.md" || status=1
    echo >>"$out.md"
}

status=0
measure --server null --server infinity-torch --server infinity-optimum "$@"
for dtype in fp32 bf16 int8; do
    measure --name "crossrank-$dtype" --dialect tei --start "$program serve \
--model {model} --port {port} --threads {threads} --dtype $dtype" "$@"
done
cat "$out.md"
echo "raw results: $out.jsonl" >&2
exit $status
