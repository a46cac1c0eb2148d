#!/bin/sh
# unitsync shim for coder, version 2
#
# "coder exp sync VERB ..." goes to unitsync; everything else to the next coder. Written
# by "unitsync shim install"; changes here are lost when that is done again.

unitsync_python=@PYTHON@
unitsync_endpoint=@ENDPOINT@
case ${UNITSYNC_CODER_SHIM_DEPTH-} in
    '' | *[!0-9]*) depth=0 ;;
    *) depth=$UNITSYNC_CODER_SHIM_DEPTH ;;
esac

say() {
    printf 'coder (unitsync shim): %s\n' "$*" >&2
}

# Whether the file $1 is this shim or another one. Its second line tells; nothing after that
# is read, not even of a binary.
is_shim() {
    [ "$1" -ef "$0" ] && return 0
    { IFS= read -r first && IFS= read -r second; } < "$1" 2> /dev/null || return 1
    case $second in
        '# unitsync shim for coder, version '*) return 0 ;;
    esac
    return 1
}

is_program() {
    [ -f "$1" ] && [ -x "$1" ] && ! is_shim "$1"
}

# Whether $1 belongs to us, to root or to whoever called sudo: anybody can put a file
# under /tmp.
is_trusted() {
    [ -n "$(find "$1" -prune \( -user "$(id -u)" -o -user 0 -o -user "${SUDO_UID:-0}" \) 2> /dev/null)" ]
}

# Replaces this process by the next coder on PATH, else by the newest one of an agent.
pass_on() {
    if [ "$depth" -ge 20 ]; then
        say 'this coder and another one call each other without end'
        exit 127
    fi
    export UNITSYNC_CODER_SHIM_DEPTH=$((depth + 1))
    rest=$PATH:
    while [ -n "$rest" ]; do
        dir=${rest%%:*}
        rest=${rest#*:}
        if is_program "${dir:-.}/coder"; then
            exec "${dir:-.}/coder" "$@"
        fi
    done
    newest=
    for program in /tmp/coder.*/coder; do
        if is_program "$program" && is_trusted "$program" && is_trusted "${program%/*}"; then
            if [ -z "$newest" ] || [ "$program" -nt "$newest" ]; then
                newest=$program
            fi
        fi
    done
    if [ -n "$newest" ]; then
        exec "$newest" "$@"
    fi
    say 'this shim only knows "coder exp sync"; there is no other coder on PATH or in /tmp/coder.*'
    exit 127
}

# Finds flags that Coder's command takes before or after its verb and that mean nothing to
# unitsync. $kind says whether a flag's value is the next word. --socket-path and
# CODER_AGENT_SOCKET_PATH name a socket that speaks another protocol.
classify() {
    case $1 in
        --socket-path | --url | --token | --agent-token | --agent-token-file | --agent-url | \
            --header | --header-command | --global-config | \
            --client-tls-ca-file | --client-tls-cert-file | --client-tls-key-file)
            kind=with_value ;;
        --socket-path=* | --url=* | --token=* | --agent-token=* | --agent-token-file=* | \
            --agent-url=* | --header=* | --header-command=* | --global-config=* | \
            --client-tls-*=* | -v | --verbose | --verbose=* | \
            --no-version-warning | --no-version-warning=* | \
            --no-feature-warning | --no-feature-warning=* | \
            --force-tty | --force-tty=* | --no-open | --no-open=* | \
            --disable-direct-connections | --disable-direct-connections=* | \
            --disable-network-telemetry | --disable-network-telemetry=* | \
            --use-keyring | --use-keyring=* | --debug-options | --debug-options=*)
            kind=alone ;;
        --) kind=end ;;
        -*) kind=flag ;;
        *) kind=word ;;
    esac
}

# Is it "coder exp sync"? Only flags may stand between the words.
next=exp
value=
for arg do
    if [ -n "$value" ]; then
        value=
        continue
    fi
    classify "$arg"
    case $kind in
        with_value) value=1 ;;
        end) break ;;
        word)
            [ "$arg" = "$next" ] || break
            if [ "$next" = sync ]; then
                next=
                break
            fi
            next=sync
            ;;
    esac
done
if [ -n "$next" ]; then
    pass_on "$@"
fi

# Take "exp", "sync" and those flags out, up to "--"; keep the rest in its order.
words=0
value=
ended=
left=$#
while [ "$left" -gt 0 ]; do
    arg=$1
    shift
    left=$((left - 1))
    if [ -z "$ended" ]; then
        if [ -n "$value" ]; then
            value=
            continue
        fi
        classify "$arg"
        case $kind in
            with_value)
                value=1
                continue
                ;;
            alone) continue ;;
            end) ended=1 ;;
            word)
                words=$((words + 1))
                [ "$words" -gt 2 ] || continue
                ;;
        esac
    fi
    set -- "$@" "$arg"
done

export UNITSYNC_CODER_SHIM=1
if [ -n "$unitsync_endpoint" ]; then
    export UNITSYNC_ENDPOINT="$unitsync_endpoint"
fi
if [ -x "$unitsync_python" ]; then
    # -I -S: Python ignores the variables and the site packages of a script.
    exec "$unitsync_python" -I -S -c @PROGRAM@ "$@"
fi
if command -v unitsync > /dev/null 2>&1; then
    exec unitsync "$@"
fi
say "unitsync is gone: there is no $unitsync_python; install it and run: unitsync shim install --force DIR"
exit 127
