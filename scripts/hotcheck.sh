#!/bin/sh
# Holds what the packet's way may call: scripts/hotcheck.sh [--any] BINARY
#
# Disassembles a release binary and follows the packet's way from its roots (all methods of DataPlane.Worker, the passes of
# ESP's bursts and the crypto stage) through every function of ours that they call, the compiler's outlined copies and
# specializations included. A call that leaves our modules must be one of the few allowed: DPDK, libipsec-mb, moving memory,
# a trap. Everything else is a violation: retain and release, allocation, exclusivity checks, lazy globals, casts, metadata,
# errors, locks, and any call into the standard library. Calls through pointers are not followed: they are DPDK's drivers and
# libipsec-mb's functions.
#
# What is inlined is checked where it was inlined into. Roots that must not vanish are named below and must be found; --any
# does without (the checker's own test).
#
# 0: clean. 1: violations, or functions that were expected and not found. 2: usage.
# shellcheck disable=SC2016,SC2094  # symbols begin with a dollar sign; both readers of one file only read
set -eu

insist=1
if [ "${1:-}" = --any ]; then insist=0; shift; fi
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
    echo "usage: $0 [--any] BINARY" >&2
    exit 2
fi

# Where a packet's way starts. Demangled names, as "swift demangle" prints them without private discriminators.
roots='(^| in | of )(DataPlane\.Worker\.|ESP\.(Outbound|Inbound)Burst\.(prepare|resynchronize|finish|append|removeAll|subscript)|ESP\.SoftwareCrypto\.(submit|collect)|ESP\.ReplayWindow\.(check|mark|advance))'

# Before the first packet or after the last, or when somebody acts (other tables, a question about neighbours): not the
# packet's way. A name here stops the search.
cold='(^| in | of )DataPlane\.NeighborCensus\.|(^| in | of )DataPlane\.Worker\.(init\(|adopt\(|moveNeighbors\(|drain\(|run\(|learnStaticNeighbors\(|ports\(|__deallocating_deinit|deinit)|variable initialization expression|outlined destroy of DataPlane\.Worker|type metadata|witness'

# What the packet's way may call outside of our modules.
allowed='^(rte_|__rte_|cdpdk_|cipsecmb_|imb_|mem(cpy|move|set|cmp)$|__mem(cpy|move|set)_chk$|__stack_chk_fail$|\$ss17_assertionFailure|\$ss18_fatalErrorMessage)'

# These are called from other modules or never inlined, so each must be there under its own name.
expected='DataPlane.Worker.poll(
DataPlane.Worker.takeHandoffs(
DataPlane.Worker.hand(
DataPlane.Worker.leave(
DataPlane.Worker.sendLeaving(
DataPlane.PolicyLookup.chooseLane(
DataPlane.Worker.admitOutside(
DataPlane.Worker.receiveOther(
DataPlane.Worker.receiveIPv6(
DataPlane.Worker.receiveND(
DataPlane.Worker.admit6(
DataPlane.Worker.lookUpRoutes6(
DataPlane.Worker.originateError6(
DataPlane.Worker.receiveARP(
DataPlane.Worker.hold(
DataPlane.Worker.takeAhead(
DataPlane.Worker.deliver(
DataPlane.Worker.originateError(
DataPlane.Worker.keepHouse(
ESP.OutboundBurst.append(
ESP.OutboundBurst.prepare(
ESP.OutboundBurst.prepareGeneral(
ESP.OutboundBurst.finishRest(
ESP.InboundBurst.append(
ESP.InboundBurst.prepare(
ESP.InboundBurst.finish(
ESP.InboundBurst.prepareGeneral(
ESP.InboundBurst.finishGeneral(
ESP.InboundBurst.acceptGeneral(
ESP.InboundBurst.tryCandidates(
ESP.SoftwareCrypto.submit(
ESP.SoftwareCrypto.collect('

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# One line a call: caller, callee. A jump to the start of another function is a call too.
objdump -d --no-show-raw-insn "$1" | awk '
    /^[0-9a-f]+ <.*>:$/ { caller = substr($2, 2, length($2) - 3); print caller "\t" >> functions; next }
    $2 ~ /^(call|jmp|j[a-z]+)/ && $NF ~ /^<.*>$/ {
        callee = substr($NF, 2, length($NF) - 2)
        if (callee ~ /\+0x[0-9a-f]+$/) next
        sub(/@.*/, "", callee)
        if (callee != caller) print caller "\t" callee
    }' functions="$work/functions" | sort -u > "$work/calls"

# mangled, then demangled without "(name in _DISCRIMINATOR)".
cut -f1 "$work/functions" | grep '^\$s' | sort -u > "$work/mangled" || :
swift demangle --compact < "$work/mangled" \
    | sed -E 's/\(([^() ]+) in _[0-9A-F]+\)/\1/g' | paste "$work/mangled" - > "$work/names"

awk -F '\t' -v roots="$roots" -v cold="$cold" -v allowed="$allowed" -v expected="$expected" -v insist="$insist" '
    FILENAME ~ /names$/ { name[$1] = $2; next }
    FILENAME ~ /functions$/ { isOurs[$1] = 1; next }
    { callees[$1] = callees[$1] "\t" $2 }
    # Code of our own modules, and what the compiler made out of it or copied into the binary for it.
    function follows(symbol) {
        if (!(symbol in isOurs) || !(symbol in name)) return 0
        return name[symbol] ~ /(DataPlane|ESP|Wire|IPsec)\./ || name[symbol] ~ /^outlined /
    }
    function push(symbol, from) {
        if (symbol in seen || name[symbol] ~ cold) return
        seen[symbol] = from
        queue[++last] = symbol
    }
    function path(symbol,   text) {
        text = name[symbol]
        while (seen[symbol] != "") { symbol = seen[symbol]; text = name[symbol] " > " text }
        return text
    }
    END {
        for (symbol in name) if (name[symbol] ~ roots) push(symbol, "")
        while (first < last) {
            caller = queue[++first]
            print "checked " name[caller]
            count = split(callees[caller], list, "\t")
            for (i = 2; i <= count; i++) {
                callee = list[i]
                if (follows(callee)) push(callee, caller)
                else if (callee !~ allowed && !(name[callee] ~ cold)) {
                    print "VIOLATION " path(caller) " calls " (name[callee] != "" ? name[callee] : callee)
                    bad = 1
                }
            }
        }
        if (insist) {
            count = split(expected, list, "\n")
            for (i = 1; i <= count; i++) {
                found = 0
                for (symbol in seen) if (index(name[symbol], list[i])) found = 1
                if (!found) { print "MISSING " list[i] "…): renamed? mend the list in scripts/hotcheck.sh"; bad = 1 }
            }
        }
        # The live loop must not hold a copy of a round that nobody looks at.
        if (insist && ("runWorker" in callees)) {
            found = 0
            count = split(callees["runWorker"], list, "\t")
            for (i = 2; i <= count; i++) if (index(name[list[i]], "DataPlane.Worker.poll(") == 1) found = 1
            if (!found) { print "MISSING a call of DataPlane.Worker.poll in runWorker: was it inlined?"; bad = 1 }
        }
        if (last == 0) { print "MISSING every root: is this a vpn-gw with symbols?"; bad = 1 }
        print last " functions on the packet'"'"'s way, " (bad ? "not clean" : "clean")
        exit bad
    }' "$work/names" "$work/functions" "$work/calls" > "$work/verdict" && status=0 || status=$?
grep '^checked' "$work/verdict" | sort || :
grep -v '^checked' "$work/verdict" | sort
exit "$status"
