#!/bin/sh
# demo.sh: what reranking does, on the collection that ships in data/. Shows
# one query's passages before and after, then the quality of all queries. The
# last line is "NDCG@10 first_stage=0.xxxx crossrank=0.xxxx". `./run demo`
# builds first; CROSSRANK names the program (default build/crossrank).
set -eu
cd "$(dirname "$0")/.."
crossrank=${CROSSRANK:-build/crossrank}
data=data/novel
run=$data/run.bm25.tsv
query_id=${1:-14}
n_shown=5

# Bytes are cut, never characters: see excerpt() below.
LC_ALL=C
export LC_ALL

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The query's text and, in the first stage's order, its passages' lines.
query=$(sed -n 's/^{"_id": "'"$query_id"'", "text": "\(.*\)"}$/\1/p' \
    "$data/queries.jsonl" | sed 's/\\"/"/g')
[ -n "$query" ] || { echo "demo: no query '$query_id' in $data" >&2; exit 2; }
awk -F '\t' -v query="$query_id" '$1 == query { print $3 "\t" $2 }' "$run" |
    sort -n | cut -f 2 >"$work/ids"
while read -r id; do
    grep -F "{\"_id\": \"$id\"," "$data/corpus.jsonl"
done <"$work/ids" >"$work/passages.jsonl"

"$crossrank" rank --query "$query" "$work/passages.jsonl" >"$work/ranked"

# table FILE: lines of place, index of the passage, score or "-", text.
table() {
    awk -F '\t' -v query="$query_id" -v qrels="$data/qrels.test.tsv" \
        -v ids="$work/ids" -v n_shown="$n_shown" '
    function excerpt(text, max) {
        if (length(text) <= max)
            return text
        text = substr(text, 1, max)
        sub(/[\300-\377]?[\200-\277]*$/, "", text) # no half characters
        sub(/ [^ ]*$/, "", text)
        return text " ..."
    }
    BEGIN {
        while ((getline line < qrels) > 0) {
            split(line, column, "\t")
            if (column[1] == query)
                grade[column[2]] = column[3]
        }
        while ((getline line < ids) > 0)
            id[n_ids++] = line
    }
    $1 <= n_shown {
        mark = grade[id[$2]] == 2 ? "**" : grade[id[$2]] == 1 ? "* " : "  "
        was = $3 == "-" ? "         " : sprintf("%6.2f %2d", $3, $2 + 1)
        printf "  %2d %s %s  %s\n", $1, was, mark, excerpt($4, 56)
    }'
}

echo
echo "Query: $query"
echo
echo "First stage (BM25), the best $n_shown of $(wc -l <"$work/ids"):"
# crossrank's own lines, put back in the first stage's order.
sort -n -k 2,2 "$work/ranked" |
    awk -F '\t' -v OFS='\t' '{ print $2 + 1, $2, "-", $4 }' | table
echo
echo "crossrank, with each passage's score and its place before:"
table <"$work/ranked"
echo
echo "  ** relevant, * partly relevant (human judgements)"

echo
n_queries=$(($(wc -l <"$data/queries.jsonl")))
echo "All $n_queries queries, reranked (1 is the ideal order):"
"$crossrank" eval "$data" --run "$run" --json >"$work/eval.json"
# figure OBJECT: its ndcg@10 in the report.
figure() {
    tr -d ' \n' <"$work/eval.json" |
        sed -n 's/.*"'"$1"'":{[^}]*"ndcg@10":\([0-9.eE+-]*\).*/\1/p'
}
first_stage=$(figure first_stage)
reranked=$(figure reranked)
if [ -z "$first_stage" ] || [ -z "$reranked" ]; then
    echo "demo: no ndcg@10 in what eval printed:" >&2
    cat "$work/eval.json" >&2
    exit 1
fi
printf 'NDCG@10 first_stage=%.4f crossrank=%.4f\n' "$first_stage" "$reranked"
