# bash completion of crossrank. Written by tools/gen_cli_docs.py from the program's --help.
_crossrank() {
    local current=${COMP_WORDS[COMP_CWORD]} words='' kind=-f
    local command=${COMP_WORDS[1]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen \
            -W 'rank score eval tokenize info serve bench report plan pull help --help --version' -- "$current")
        return
    fi
    case "$command $previous" in
    help\ help) words='rank score eval tokenize info serve bench report plan pull' ;;
    'rank --activation') words='model none sigmoid' ;;
    'rank --format') words='auto text jsonl' ;;
    'rank --model') kind=-d ;;
    'rank --device') words='cpu and gpu with mlx' ;;
    'rank --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'rank --truncation') words='longest_first only_second' ;;
    'score --activation') words='model none sigmoid' ;;
    'score --format') words='auto tsv jsonl' ;;
    'score --model') kind=-d ;;
    'score --device') words='cpu and gpu with mlx' ;;
    'score --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'score --truncation') words='longest_first only_second' ;;
    'eval --model') kind=-d ;;
    'eval --device') words='cpu and gpu with mlx' ;;
    'eval --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'eval --truncation') words='longest_first only_second' ;;
    'tokenize --format') words='auto tsv jsonl' ;;
    'tokenize --model') kind=-d ;;
    'tokenize --device') words='cpu and gpu with mlx' ;;
    'tokenize --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'tokenize --truncation') words='longest_first only_second' ;;
    'info --model') kind=-d ;;
    'info --device') words='cpu and gpu with mlx' ;;
    'info --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'info --truncation') words='longest_first only_second' ;;
    'serve --model') kind=-d ;;
    'serve --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'serve --truncation') words='longest_first only_second' ;;
    'serve --activation') words='model none sigmoid' ;;
    'serve --grpc-enabled') words='true false' ;;
    'serve --batching-enabled') words='true false' ;;
    'serve --rerank-scores') words='sigmoid model raw' ;;
    'serve --rerank-documents') words='object string never' ;;
    'serve --auto-truncate') words='true false' ;;
    'serve --access-log') words='true false' ;;
    'bench --model') kind=-d ;;
    'bench --device') words='cpu and gpu with mlx' ;;
    'bench --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'bench --truncation') words='longest_first only_second' ;;
    'report --model') kind=-d ;;
    'report --device') words='cpu and gpu with mlx' ;;
    'report --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'report --truncation') words='longest_first only_second' ;;
    'plan --model') kind=-d ;;
    'plan --device') words='cpu and gpu with mlx' ;;
    'plan --dtype') words='auto fp32 fp16 bf16 int8' ;;
    'plan --truncation') words='longest_first only_second' ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    if [[ $current == -* ]]; then
        case $command in
        rank) words='--query --top --json --table --activation --skip-errors --format --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        score) words='--activation --skip-errors --format --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        eval) words='--run --depth --save --json --table --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        tokenize) words='--skip-errors --format --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        info) words='--json --peak --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        serve) words='--config --print-config --model --revision --backend --device --dtype --isa --threads --max-length --truncation --activation --host --port --unix-socket --grpc-enabled --grpc-port --served-model-name --batching-enabled --batching-max-batch --batching-max-tokens --batching-timeout-ms --max-documents --max-body-bytes --max-pending-bytes --max-queue-tokens --max-connections --http-threads --receive-timeout-ms --idle-timeout-s --request-timeout-ms --drain-timeout-ms --rerank-scores --rerank-documents --auto-truncate --api-keys-file --cors-origin --access-log --help' ;;
        bench) words='--output --url --grpc-url --dialect --in-process --all --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        report) words='--model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        plan) words='--rate --pairs --p99 --replicas --lanes --window --max-batch --price --results --dataset --requests --seed --json --model --revision --backend --device --dtype --isa --threads --max-length --truncation --quiet --help' ;;
        pull) words='--revision --quiet --help' ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    mapfile -t COMPREPLY < <(compgen "$kind" -- "$current")
    compopt -o filenames 2>/dev/null
}
complete -F _crossrank crossrank
