#!/usr/bin/env bash
# The checks that need a GPU, in one run of about 15 minutes: `make gpu`. Each step has a limit, one that fails
# stops no other, and everything lands in one folder; paste its summary.md.
#
#   versions   the GPU, its driver, the packages
#   probe      which of the providers work here; without cuda nothing else is run
#   parity     all torch models on cuda and on cuda_tf32
#   tensorrt   three of them on tensorrt and tensorrt_fp16, where its probe succeeds
#   budget     what clean exports use of the budget, on cuda and on cuda_tf32
#   latency    batch 1, 4, 8 and 16 on cuda, with native CUDA beside it
#
# Exit status: 0 all that was run is green, and cuda was · 1 a step is red or was cut at its limit ·
# 5 nothing was proved: there is no cuda here.
#
# Variables, all optional:
#   OUT      the folder                     (default: .conformance/gpu)
#   SCALE    multiplies every limit         (default: 1; whole numbers)
#   MODELS   for parity, by spaces          (default: every torch model of the suite)
#   TIMED    for tensorrt and latency       (default: resnet18 mobilenet_v2 resnet50)
#   N        fresh seeds of each budget     (default: 1)
#   VENV     the environment                (default: .venv)
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
OUT=${OUT:-.conformance/gpu}
SCALE=${SCALE:-1}
MODELS=${MODELS:-}
TIMED=${TIMED:-resnet18 mobilenet_v2 resnet50}
N=${N:-1}
PYTHON=${VENV:-.venv}/bin/python
SUMMARY=$OUT/summary.md
RED=0
LAST=0
export COLUMNS=160 # of the tables

cut_at_limit() { # STATUS: of timeout, whose command ended at its limit or was killed after it
    [[ $1 == 124 || $1 == 137 ]]
}

meaning() { # STATUS
    if cut_at_limit "$1"; then
        echo "cut at its limit: what it found by then counts"
    elif [[ $1 == 0 ]]; then
        echo "green"
    elif [[ $1 == 5 ]]; then
        echo "nothing was proved"
    else
        echo "red"
    fi
}

quote() { # FILE LINES: its end, as a block
    printf '```text\n%s\n```\n\n' "$(tail -n "$2" "$1")" >>"$SUMMARY"
}

step() { # NAME SECONDS COMMAND...: run it within its limit; LAST is its exit status
    local name=$1 limit=$(($2 * SCALE)) started=$SECONDS
    shift 2
    printf '\n== %s (at most %s s): %s\n' "$name" "$limit" "$*"
    timeout --signal=INT --kill-after=30 "$limit" "$@" 2>&1 | tee "$OUT/$name.log"
    LAST=${PIPESTATUS[0]}
    printf '== %s: exit status %s, %s\n' "$name" "$LAST" "$(meaning "$LAST")"
    {
        printf '## %s: exit status %s, %s\n\n' "$name" "$LAST" "$(meaning "$LAST")"
        # shellcheck disable=SC2016 # the marks are Markdown's
        printf '`%s`, %s s\n\n' "$*" "$((SECONDS - started))"
    } >>"$SUMMARY"
    if [[ -s $OUT/$name.md ]]; then
        sed 's/^## /### /' "$OUT/$name.md" >>"$SUMMARY"
        echo >>"$SUMMARY"
    else
        quote "$OUT/$name.log" "${SHOWN:-60}"
    fi
    [[ $LAST == 0 ]] || RED=1
}

each() { # OPTION NAMES...: the option once for each name
    local option=$1
    shift
    (($# == 0)) || printf '%s\n' "${@/#/$option=}"
}

reports() { # STEP: the options by which a step's reports get its name
    printf '%s\n' "--report-md=$OUT/$1.md" "--report-json=$OUT/$1.json" "--report-html=$OUT/$1.html"
}

certify() { # STEP SECONDS MODELS PROVIDERS...: torch models on these providers, each required
    local name=$1 seconds=$2 models=$3
    shift 3
    local -a chosen
    # shellcheck disable=SC2086 # names by spaces
    mapfile -t chosen < <(each --model $models; each --provider "$@"; each --require "$@"; reports "$name")
    step "$name" "$seconds" "$PYTHON" -m pytest tests --ignore=tests/meta --framework=torch \
        --call-limit=600 -q "${chosen[@]}"
}

works() { # PROVIDER: whether its probe succeeds
    timeout 120 "$PYTHON" -m onnx_conformance providers --provider "$1" --require "$1" >/dev/null 2>&1
}

versions() {
    timeout 30 nvidia-smi --query-gpu=name,driver_version,memory.total,compute_mode \
        --format=csv,noheader || echo "nvidia-smi does not answer"
    uname -sr
    "$PYTHON" --version
    "$PYTHON" -m pip list 2>/dev/null | grep -iE '^(nvidia|onnx|torch|tensor|keras|tf2onnx|numpy)'
    git log -1 --format='this suite: %h of %cs' 2>/dev/null || true
}

end() { # STATUS WORDS
    printf '\n**%s**\n' "$2" >>"$SUMMARY"
    printf '\n%s\nresults: %s\n' "$2" "$SUMMARY"
    exit "$1"
}

if [[ ! -x $PYTHON ]]; then
    echo "$PYTHON is not there; make install, or make gpu, makes it" >&2
    exit 2
fi
mkdir -p "$OUT"
rm -f "$OUT"/{versions,probe,parity,tensorrt,budget-*,latency,summary}.{md,json,html,log}
printf '# On a GPU\n\n' >"$SUMMARY"
versions >"$OUT/versions.log" 2>&1
quote "$OUT/versions.log" 100
cat "$OUT/versions.log"

mapfile -t asked < <(each --provider cuda cuda_tf32 tensorrt tensorrt_tf32 tensorrt_fp16)
step probe 120 "$PYTHON" -m onnx_conformance providers "${asked[@]}" --require=cuda
if [[ $LAST != 0 ]]; then
    end 5 "NOTHING WAS PROVED: cuda does not work here, so no other step was run. The table says why."
fi

certify parity 300 "$MODELS" cuda cuda_tf32
if works tensorrt; then
    certify tensorrt 180 "$TIMED" tensorrt tensorrt_fp16
else
    printf '## tensorrt: not run, it does not work here\n\nThe probe says why.\n\n' >>"$SUMMARY"
fi
for provider in cuda cuda_tf32; do
    SHOWN=20 step "budget-$provider" 120 "$PYTHON" -m studies.calibrate_budget "$provider" \
        "--n=$N" --framework=torch --model=simple_net --model=resnet18 --model=mobilenet_v2
done
# shellcheck disable=SC2086 # names by spaces
mapfile -t timed < <(each --model $TIMED; each --batch-size 1 4 8 16)
SHOWN=200 step latency 180 "$PYTHON" -m pytest tests/test_latency.py --benchmark-only -q \
    --provider=cuda --exporter=torch_dynamo --native-form=cuda --bench-seconds=3 "${timed[@]}" \
    "--latency-json=$OUT/latency.json" "--latency-html=$OUT/latency.html"

if [[ $RED != 0 ]]; then
    end 1 "RED: a step is red or was cut at its limit; each says which."
fi
end 0 "GREEN: every step that was run is green."
