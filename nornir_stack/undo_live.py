"""Shell functions that save what the kernel has of a node's network as text, and bring it back: only what differs. Pure.

Links (up or down, MTU, master, a bond's MAC), addresses, routes and rules of both families, and the packet filter (nftables,
iptables). Bridges, VLANs, bonds and pairs of veth that are gone are made again. Not saved: Open vSwitch, devices of other
kinds, the VLANs of a bridge's ports, routes that a routing daemon or a router's advertisement brought, and tables of nftables
that a process owns (`flags owner`: firewalld's), which nobody else can change.
"""

LIVE = r"""
links() {
    for d in /sys/class/net/*; do
        [ -e "$d/flags" ] || continue
        read -r flags <"$d/flags"
        read -r mtu <"$d/mtu"
        master=-
        if [ -e "$d/master" ]; then master=$(readlink "$d/master"); master=${master##*/}; fi
        # a bond takes that of the port that comes first to it, and its neighbours would go on with the former one
        mac=-
        if [ -d "$d/bonding" ]; then read -r mac <"$d/address"; fi
        echo "${d##*/} $((flags & 1)) $mtu $master $mac"
    done
}
addresses() {
    ip -o address show "$@" | sed -E -e 's/^[0-9]+: *//' -e 's/\\.*//' -e 's/@[^ ]*//' \
        -e 's/ (dynamic|secondary|tentative|dadfailed|temporary|mngtmpaddr|deprecated|permanent)\b//g' \
        -e 's/ +/ /g' -e 's/ +$//'
}
routes() {
    ip -o "$1" route show table all | sed -E -e '/^(local|broadcast|multicast|anycast) /d' -e '/^ff00::\/8 /d' \
        -e '/ proto (ra|bgp|ospf|isis|rip|babel|eigrp|zebra|bird) /d' -e '/ expires /d' -e 's/[\\\t]/ /g' \
        -e 's/ (linkdown|dead|offload|trap|rt_offload|rt_trap)\b//g' -e 's/ +/ /g' -e 's/ +$//'
}
rules() { ip "$1" rule show | sed -E -e 's/:/ /' -e 's/[[:space:]]+/ /g' -e 's/ $//'; }
iptables_is() { iptables -V 2>/dev/null | grep -q "$1"; }
# What makes a device again, as words for `ip link add`: NAME WORDS. Not the end of a pair in another namespace, and no
# bridge that filters VLANs: those of its ports would be lost.
devices() {
    ip -d -o link show | while read -r _ name line; do
        name=${name%:} over='' mac='' kind='' words='' last='' mode=''
        case $name in *@*) over=${name#*@} name=${name%%@*} ;; esac
        for word in $line; do
            case $kind-$last in
                -link/ether) mac=$word ;;
                bridge-vlan_filtering) [ "$word" = 0 ] || continue 2 ;;
                bond-mode) mode=$word words="$words mode $word" ;;
                bridge-forward_delay | bridge-hello_time | bridge-max_age | bridge-ageing_time | bridge-stp_state | \
                    bridge-priority | bridge-mcast_snooping | vlan-protocol | vlan-id | bond-xmit_hash_policy)
                    words="$words $last $word" ;;
                bond-miimon | bond-updelay | bond-downdelay | bond-min_links)
                    if [ "$word" != 0 ]; then words="$words $last $word"; fi ;;
                bond-lacp_rate) if [ "$mode" = 802.3ad ]; then words="$words $last $word"; fi ;;
            esac
            case $word in
                bridge_slave | bond_slave) break ;;
                bridge | vlan | bond | veth) if [ "$mac" ]; then kind=${kind:-$word}; fi ;;
            esac
            last=$word
        done
        case $kind in
            veth)
                [ -r "/sys/class/net/$over/address" ] || continue
                words=" peer name $over address $(cat "/sys/class/net/$over/address")"
                ;;
            vlan) echo "$name link $over name $name address $mac type vlan$words"; continue ;;
        esac
        [ -z "$kind" ] || echo "$name name $name address $mac type $kind$words"
    done
}
restore_devices() {
    for again in 1 2; do  # one may stand on another
        while read -r dev words; do
            if ! [ -e "/sys/class/net/$dev" ]; then ip link add $words 2>&1; fi
        done <"$1/devices"
    done
}
# Tables that no process owns: FAMILY NAME.
tables() {
    nft list tables 2>/dev/null | while read -r _ family name; do
        nft list table "$family" "$name" 2>/dev/null | grep -Eq '^[[:space:]]+flags .*owner' || echo "$family $name"
    done
}
# Tables of iptables on nftables hold what nft cannot load again: iptables restores them.
own_tables() {
    tables | while read -r family name; do
        case $family in ip) other=$1/iptables ;; ip6) other=$1/ip6tables ;; *) other=/dev/null ;; esac
        if iptables_is nf_tables && grep -qx "\*$name" "$other" 2>/dev/null; then continue; fi
        nft list table "$family" "$name" || :
    done
}
live_save() {
    mkdir -p "$1"
    links >"$1/links"
    if command -v ip >/dev/null; then
        devices >"$1/devices" 2>/dev/null
        addresses >"$1/addresses"
        for v in -4 -6; do
            routes $v >"$1/routes$v" 2>/dev/null
            rules $v >"$1/rules$v" 2>/dev/null
        done
    fi
    for p in iptables ip6tables; do
        if command -v $p-save >/dev/null; then
            $p-save 2>/dev/null | sed -E -e '/^#/d' -e 's/^(:.*) \[[0-9]+:[0-9]+\]$/\1/' >"$1/$p" || :
        fi
    done
    if command -v nft >/dev/null; then
        own_tables "$1" >"$1/nft"
        tables | while read -r family name; do nft -s list table "$family" "$name"; done >"$1/ruleset" 2>/dev/null || :
        # without what is in sets: traffic may fill those
        tables | while read -r family name; do
            nft -s -t list table "$family" "$name" || nft -s list table "$family" "$name"
        done >"$1/filter" 2>/dev/null || :
    fi
}
without() { grep -Fvx -f "$2" "$1"; }
restore_firewall() {
    if command -v nft >/dev/null && ! cmp -s "$1/ruleset" "$2/ruleset"; then
        { echo flush ruleset; cat "$1/nft"; } | nft -f - || echo "nft did not take its former tables" >>"$1.failed"
        for p in iptables ip6tables; do
            if [ -s "$1/$p" ] && iptables_is nf_tables; then
                $p-restore <"$1/$p" || echo "$p did not take its former rules" >>"$1.failed"
            fi
        done
    fi
    for p in iptables ip6tables; do
        if iptables_is nf_tables || ! [ -e "$2/$p" ] || cmp -s "$1/$p" "$2/$p"; then continue; fi
        sed -n 's/^\*//p' "$2/$p" | while read -r t; do
            if grep -qx "\*$t" "$1/$p"; then continue; fi
            open=$(sed -n "/^\*$t\$/,/^COMMIT/s/^:\([A-Z]*\) [A-Z].*/:\1 ACCEPT/p" "$2/$p")
            printf '*%s\n%s\nCOMMIT\n' "$t" "$open" | $p-restore
        done
        if [ -s "$1/$p" ]; then $p-restore <"$1/$p" || echo "$p did not take its former rules" >>"$1.failed"; fi
    done
}
restore_links() {
    without "$1/links" "$2/links" | while read -r dev up mtu master mac; do
        [ -e "/sys/class/net/$dev" ] || { echo "the device $dev is gone"; continue; }
        case $master in
            -)
                case $(readlink "/sys/class/net/$dev/master") in
                    '') ;;
                    */ovs-system) ovs-vsctl --timeout=10 del-port "$dev" ;;
                    *) ip link set dev "$dev" nomaster ;;
                esac
                ;;
            ovs-system) ;;
            *)
                if [ -d "/sys/class/net/$master/bonding" ]; then ip link set dev "$dev" down; fi
                ip link set dev "$dev" master "$master"
                ;;
        esac
        if [ "$mac" != - ]; then ip link set dev "$dev" address "$mac"; fi
        ip link set dev "$dev" mtu "$mtu"
        if [ "$up" = 1 ]; then ip link set dev "$dev" up; else ip link set dev "$dev" down; fi
    done
}
restore_addresses() {
    addresses permanent >"$2/permanent"
    without "$2/permanent" "$1/addresses" | while read -r dev family address _; do
        if grep -q "^$dev " "$1/links" || grep -Fq " $family $address " "$1/addresses"; then
            ip address delete "$address" dev "$dev"
        fi
    done
    without "$1/addresses" "$2/addresses" | while read -r dev family address rest; do
        if [ "$family" = inet ]; then rest="${rest% *} label ${rest##* }"; fi
        ip address replace "$address" $rest dev "$dev"
    done
}
restore_routes() {
    routes "$3" >"$2/routes$3"
    without "$2/routes$3" "$1/routes$3" | while read -r line; do ip "$3" route delete $line; done
    for again in 1 2; do  # a gateway is reached by a route that may stand after its own
        routes "$3" >"$2/routes$3"
        without "$1/routes$3" "$2/routes$3" | while read -r line; do
            ip "$3" route append $line 2>&1 || [ $again = 1 ]  # two may differ in their source only
        done >"$2/said"
    done
    cat "$2/said"
    without "$2/rules$3" "$1/rules$3" | while read -r line; do ip "$3" rule delete pref $line; done
    without "$1/rules$3" "$2/rules$3" | while read -r line; do ip "$3" rule add pref $line; done
}
# What DIR.now has not of DIR, and what it has more, the latter on devices of then: others are not taken away.
differences() {
    for f in links addresses routes-4 routes-6 rules-4 rules-6 filter; do
        [ -e "$1/$f" ] && [ -e "$1.now/$f" ] || continue
        without "$1/$f" "$1.now/$f" | while read -r line; do echo "not as before, $f: $line"; done
        now=$f
        case $f in links) continue ;; addresses) now=permanent ;; esac
        without "$1.now/$now" "$1/$f" | while read -r line; do
            case $f in
                addresses) dev=${line%% *} ;;
                routes*) dev=${line#* dev } dev=${dev%% *} ;;
                *) dev=lo ;;
            esac
            if grep -q "^$dev " "$1/links"; then echo "not there before, $f: $line"; fi
        done
    done
}
# DIR ROUNDS. Services that were started anew may still be at work: hence several times, until nothing differs. What still
# does then is written into DIR.left.
live_restore() {
    for round in $(seq "$2"); do
        live_save "$1.now"
        : >"$1.failed"
        restore_firewall "$1" "$1.now"
        if [ -e "$1/addresses" ]; then
            restore_links "$1" "$1.now"
            addresses >"$1.now/addresses"
            restore_addresses "$1" "$1.now"
            for v in -4 -6; do restore_routes "$1" "$1.now" $v; done
        fi
        live_save "$1.now"
        if [ -e "$1/addresses" ]; then addresses permanent >"$1.now/permanent"; fi
        { cat "$1.failed"; differences "$1"; } | grep -v ', filter: }$' | head -n 12 >"$1.left"
        [ -s "$1.left" ] || break
        sleep 0.5
    done
    cat "$1.left"
}
"""
