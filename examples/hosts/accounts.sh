#!/bin/sh
# accounts.sh JOB HOST...   prints the accounts of a job for the configuration of nats-server
#
# Each host has an account. It can write what is its own into the log, read all of it, and ask
# for nothing else. docs/how-to/hosts.md#permissions says why, and how to use it.
set -eu
for name; do
    case $name in
        *[!A-Za-z0-9_-]* | log | owner)
            echo "error: $name cannot be the name of a job or host here" >&2
            exit 2 ;;
    esac
done
job=$1
shift
stream=unitsync_$job

user() { echo "    users: [{ user: \"$1\", password: \$PASSWORD_$(echo "$1" | tr - _) }]"; }
api() {
    echo "      { service: { account: \"$job-log\", subject: \"\$JS.API.$1\" }, to: \"us.$job.api.$1\" }"
}

cat <<END
accounts {
  "$job-log": {
    jetstream: enabled
$(user "$job-owner")
    exports: [
      { service: "us.$job.claim.*" }, { service: "us.$job.synced.*" }, { service: "us.$job.fact.*.*" }
      { service: "\$JS.API.STREAM.INFO.$stream" }, { service: "\$JS.API.STREAM.MSG.GET.$stream" }
      { service: "\$JS.API.DIRECT.GET.$stream.us.$job.fact.*.*" }
      { service: "\$JS.API.CONSUMER.CREATE.$stream.*" }
      { service: "\$JS.API.CONSUMER.DELETE.$stream.*" }
      { service: "\$JS.API.CONSUMER.MSG.NEXT.$stream.*", response_type: "stream" }
    ]
  }
END
for host; do
    log="{ service: { account: \"$job-log\", subject: \""
    cat <<END
  "$job-$host": {
$(user "$job-$host")
    exports: [{ stream: "us.$job.alive.$host" }]
    imports: [
      ${log}us.$job.claim.$host" } }
      ${log}us.$job.synced.$host" } }
      ${log}us.$job.fact.$host.*" } }
$(api "STREAM.INFO.$stream")
$(api "STREAM.MSG.GET.$stream")
$(api "DIRECT.GET.$stream.us.$job.fact.*.*")
END
    # Heartbeats go from account to account: what is sent to a service of another account does not
    # come to those who import a stream from there.
    for other; do
        [ "$other" = "$host" ] ||
            echo "      { stream: { account: \"$job-$other\", subject: \"us.$job.alive.$other\" } }"
    done
    for number in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        for verb in CREATE DELETE MSG.NEXT; do
            api "CONSUMER.$verb.$stream.$host-$number"
        done
    done
    echo '    ]'
    echo '  }'
done
echo '}'
