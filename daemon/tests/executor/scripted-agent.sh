#!/bin/sh
# An agent that misbehaves on request: speaks the agent protocol, keeps "domains" as files, and does once whatever
# DIR/on-CALL says when that call comes, and always what DIR/always-on-CALL says. Called as: scripted-agent.sh --uri URI DIR
#
#   die          ends before the call has any effect
#   die-after    ends after the effect and before the answer
#   hang         has the effect and never answers anything again
#   KIND         answers with that fault, without any effect (failed, deadline, bad_definition, …)
#   wrong        answers something else than was asked
uri=$2
dir=$3
mkdir -p "$dir/running"
echo "life $$" >>"$dir/log"
echo $$ >"$dir/pid"
printf '{"hello":{"version":1,"uri":"%s"}}\n' "$uri"
if [ -e "$dir/unconnected" ]; then
    echo '{"event":{"disconnected":{"reason":"libvirtd is away"}}}'
else
    echo '{"event":"connected"}'
fi
[ -e "$dir/say" ] && cat "$dir/say"

ok() { printf '{"answer":{"id":%s,"result":{"Ok":%s}}}\n' "$id" "$1"; }
fault() { printf '{"answer":{"id":%s,"result":{"Err":{"kind":"%s","message":"scripted %s"}}}}\n' "$id" "$1" "$1"; }

list() {
    domains=
    for file in "$dir"/running/*; do
        [ -e "$file" ] || continue
        domains="$domains${domains:+,}{\"name\":\"${file##*/}\",\"uuid\":\"\",\"state\":\"running\",\"pid\":$(cat "$file")}"
    done
    ok "{\"domains\":[$domains]}"
}

while IFS= read -r line; do
    id=${line#*\"id\":}
    id=${id%%,*}
    what=${line#*\"what\":}
    call=${what#*\"}
    call=${call%%\"*}
    name=${what#*\"name\":\"}
    name=${name%%\"*}
    echo "$call ${what#*\{}" >>"$dir/log"
    order=$(cat "$dir/always-on-$call" 2>/dev/null)
    if [ -e "$dir/on-$call" ]; then
        order=$(cat "$dir/on-$call")
        rm "$dir/on-$call"
    fi
    case $order in
    die) exit 1 ;;
    wrong)
        ok '"cancelled"'
        continue
        ;;
    '' | die-after | hang) ;;
    *)
        fault "$order"
        continue
        ;;
    esac
    case $call in
    start)
        already=false
        if [ -e "$dir/running/$name" ]; then already=true; else
            count=$(($(cat "$dir/count" 2>/dev/null || echo 1000) + 1))
            echo "$count" >"$dir/count"
            echo "$count" >"$dir/running/$name"
        fi
        answer="{\"started\":{\"pid\":$(cat "$dir/running/$name"),\"already\":$already}}"
        ;;
    stop)
        rm -f "$dir/running/$name"
        answer='{"stopped":{"destroyed":true}}'
        ;;
    migrate)
        [ -e "$dir/slow-migration" ] && { migration=$id; continue; }
        rm -f "$dir/running/$name"
        answer='"migrated"'
        ;;
    cancel_migration)
        cancel=$id
        [ -n "$migration" ] && { id=$migration; fault failed; id=$cancel; migration=; }
        answer='"cancelled"'
        ;;
    esac
    case $order in
    die-after) exit 1 ;;
    hang) exec sleep 1000 ;;
    esac
    if [ "$call" = list ]; then list; else ok "$answer"; fi
done
