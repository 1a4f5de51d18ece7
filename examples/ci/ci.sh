#!/usr/bin/env bash
# One CI run, the same on every machine: certify, then keep a baseline or gate against it.
#
#   main branch     make conformance; its artifacts become the baseline if everything passed
#   other branches  make conformance, then make gate against the main branch's baseline
#
# Exit status: 0 everything passed and, beside a baseline, nothing is slower; 1 otherwise.
#
# Variables, all optional:
#   BRANCH            the branch that is judged           (default: the one checked out)
#   MAIN              the branch whose artifacts count    (default: main)
#   OUT               reports, artifacts, summary.md      (default: .conformance/ci)
#   BASELINE          the artifacts to gate against       (default: $OUT/baseline)
#   CONFORMANCE_ARGS  more pytest options for conformance (such as --provider=cpu)
#   REQUIRE           providers on which a case must pass every check, by spaces (default: cpu)
#   GATE_ARGS         more pytest options for the gate    (such as --gate-strict)
#   FIRST_RUN         yes: a branch without a baseline is certified and not gated
#   SUITE             the suite's checkout                (default: two folders above this file)
#   PYTHON, FRAMEWORKS, VENV                              as the Makefile reads them
#   GITHUB_STEP_SUMMARY                                   summary.md is appended to this file
# $OUT and $BASELINE may hold letters, digits and _ . / - only: they travel through make.
set -euo pipefail

SUITE=${SUITE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
cd "$SUITE"
BRANCH=${BRANCH:-$(git rev-parse --abbrev-ref HEAD)}
MAIN=${MAIN:-main}
OUT=${OUT:-.conformance/ci}
BASELINE=${BASELINE:-$OUT/baseline}
CONFORMANCE_ARGS=${CONFORMANCE_ARGS:-}
REQUIRE=${REQUIRE:-cpu}
GATE_ARGS=${GATE_ARGS:-}
FIRST_RUN=${FIRST_RUN:-no}
CANDIDATE=$OUT/candidate
SUMMARY=$OUT/summary.md

tell() { # TEXT: on the terminal and in the summary
    printf '%s\n' "$1"
    printf '%s\n\n' "$1" >>"$SUMMARY"
}

red() { # TEXT: the end of a run that is not green
    tell "**Red: $1**"
    exit 1
}

publish() {
    if [[ -n ${GITHUB_STEP_SUMMARY:-} && -f $SUMMARY ]]; then
        cat "$SUMMARY" >>"$GITHUB_STEP_SUMMARY"
    fi
}

reports() { # STEP: the options by which a step's reports get its name
    printf '%s ' "--report-md=$OUT/$1.md" "--report-json=$OUT/$1.json" "--report-html=$OUT/$1.html"
}

findings() { # the failures in the forms that GitHub and GitLab show beside the code, and as JUnit
    printf '%s ' "--report-sarif=$OUT/conformance.sarif" "--junitxml=$OUT/junit.xml" \
        "--report-codequality=$OUT/codequality.json"
}

include() { # STEP: its Markdown into the summary
    if [[ -f $OUT/$1.md ]]; then
        { cat "$OUT/$1.md" && echo; } >>"$SUMMARY"
    fi
}

prepare() {
    if [[ $OUT$BASELINE == *[!A-Za-z0-9_./-]* ]]; then
        echo "OUT=$OUT, BASELINE=$BASELINE: only letters, digits and _ . / - are possible" >&2
        exit 1
    fi
    mkdir -p "$OUT"
    rm -rf "$CANDIDATE"
    rm -f "$SUMMARY" "$OUT"/{conformance,gate}.{md,json,html}
    rm -f "$OUT"/{conformance.sarif,codequality.json,junit.xml}
    trap publish EXIT
}

required() { # an option for each provider on which a case must have passed
    # shellcheck disable=SC2086 # names by spaces
    printf -- '--require=%s ' $REQUIRE
}

verdict() { # what the run itself says: status 0 alone may be a run whose failures are all known
    "${PYTHON:-python3}" -c '
import json, sys
print(json.load(open(sys.argv[1]))["run"]["verdict"])' "$OUT/conformance.json"
}

certify() {
    local status=0 found="no verdict"
    make conformance ARGS="$(reports conformance)$(findings)$(required)--save-onnx=$CANDIDATE $CONFORMANCE_ARGS" || status=$?
    include conformance
    if [[ -f $OUT/conformance.json ]]; then
        found=$(verdict)
    fi
    if [[ $status != 0 || $found != passed ]]; then
        red "conformance gave status $status and the verdict '$found', so nothing was gated and \
the baseline is as it was. See the report, or the log if there is none."
    fi
}

keep_baseline() {
    if [[ ! -s $CANDIDATE/manifest.json ]]; then
        red "conformance left no artifacts in $CANDIDATE; the baseline is as it was."
    fi
    if [[ -e $BASELINE && ! -f $BASELINE/manifest.json ]]; then
        red "$BASELINE exists and is no baseline (it has no manifest.json); name another place."
    fi
    mkdir -p "$(dirname "$BASELINE")"
    rm -rf "$BASELINE.old"
    if [[ -e $BASELINE ]]; then
        mv "$BASELINE" "$BASELINE.old"
    fi
    mv "$CANDIDATE" "$BASELINE"
    rm -rf "$BASELINE.old"
    tell "Everything passed: these artifacts are the new baseline."
}

gate() {
    if [[ ! -f $BASELINE/manifest.json ]]; then
        if [[ $FIRST_RUN == yes ]]; then
            tell "**NOTHING WAS GATED: there is no baseline in $BASELINE, and FIRST_RUN=yes allows it.**"
            return
        fi
        red "there is no baseline in $BASELINE, so nothing was gated. Run this on $MAIN first, \
which makes one; or, before $MAIN has ever run, give FIRST_RUN=yes to certify without a gate."
    fi
    local status=0
    make gate BASELINE="$BASELINE" ARGS="$(reports gate)$GATE_ARGS" || status=$?
    include gate
    if [[ $status != 0 ]]; then
        red "the gate against $MAIN's artifacts gave status $status; its log says which case and why."
    fi
    tell "Gated against $MAIN's artifacts: nothing is slower."
}

prepare
certify
if [[ $BRANCH == "$MAIN" ]]; then
    keep_baseline
else
    gate
fi
