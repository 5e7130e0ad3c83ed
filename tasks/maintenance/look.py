"""The one look of the survey: a script that asks a node everything in one round trip. What it prints is read by `reading`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh

if TYPE_CHECKING:
    from nornir_stack.command import Command
    from nornir_stack.tasks.maintenance.settings import Care

# Each section begins with a line of the record separator and its name, as in system/facts. What may hang has a time
# limit, and what hung is named on stderr. Nothing is written, since a disk may be full. The time is asked first and last:
# by both and the round trip the caller knows how far off the clock is.
# journald bounds its own files, so they are no logs here.
# $1: patterns of certificates, a line each. $2: backups, a line each: the name, a tab, a pattern.
_SCRIPT = r"""
export LC_ALL=C SYSTEMD_COLORS=0 SYSTEMD_PAGER=
newline='
'
IFS="$newline"
s() { printf '\036%s\n' "$1"; }
have() { command -v "$1" >/dev/null 2>&1; }
within() { timeout "$@" </dev/null 2>/dev/null || { [ $? -ne 124 ] || echo "hung $2" >&2; }; }
s begin; date +%s.%N
s boot; cat /proc/sys/kernel/random/boot_id
s machine; cat /etc/machine-id 2>/dev/null
container=no; systemd-detect-virt --quiet --container 2>/dev/null && container=yes
s clock
if [ $container = yes ]; then echo "service the host"; else
    for unit in chrony chronyd systemd-timesyncd ntpsec ntp ntpd openntpd; do
        if systemctl is-active --quiet "$unit.service"; then echo "service $unit"; break; fi
    done
    echo "synchronised $(within 5 timedatectl show -p NTPSynchronized --value)"
fi
s disks; within 10 df -l -B1 --output=size,used,avail,itotal,iused,fstype,source,target
s meminfo; cat /proc/meminfo
s pressure; cat /proc/pressure/memory 2>/dev/null
s vmstat; grep '^oom_kill ' /proc/vmstat
s failed
set -- "$1" "$2" $(systemctl list-units --all --plain --no-legend --no-pager --state=failed,auto-restart | cut -d ' ' -f 1)
certificates=$1 backups=$2; shift 2
read -r up_rest </proc/uptime
echo "uptime ${up_rest%% *}"
[ $# -eq 0 ] || systemctl show --no-pager -p Id,ActiveState,SubState,Result,NRestarts,StateChangeTimestampMonotonic -- "$@"
s certificates
for f in $certificates; do
    [ -f "$f" ] || continue
    printf '\035%s\n' "$f"
    sed -n '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/p' -- "$f" 2>&1 | head -c 30000
done
s updates
if have apt-get; then
    echo "lists $(stat -c %Y /var/lib/apt/lists/partial 2>/dev/null || echo 0)"
    within 60 apt-get -qq -s -o Debug::NoLocking=1 dist-upgrade | grep '^Inst '
elif have dnf; then
    echo "lists $(stat -c %Y /var/cache/dnf/*/repodata/*primary.xml* 2>/dev/null | sort -rn | head -n 1)"
    within 100 dnf -q --cacheonly updateinfo list --security | sed 's/^/advisory /'
    within 100 dnf -q --cacheonly check-update | sed 's/^/newer /'
fi
s kernel
if [ $container = no ]; then uname -r; ls -d /boot/vmlinuz-* 2>/dev/null; fi
s reboot; if [ -e /run/reboot-required ]; then cat /run/reboot-required.pkgs 2>/dev/null || echo unknown; fi
s replaced
for m in $(grep -lsE ' /(usr/)?(lib|bin|sbin)[^ ]* \(deleted\)$' /proc/[0-9]*/maps 2>/dev/null); do
    grep -m 1 -o '[^/]*\.service' "${m%/maps}/cgroup" 2>/dev/null
done | sort -u
if [ $container = no ]; then
    s mdstat; cat /proc/mdstat 2>/dev/null
    s zpool; if have zpool; then within 10 zpool status -x; fi
    s smart
    if have smartctl; then
        for d in $(lsblk -dnro NAME,TYPE | sed -n 's/ disk$//p'); do
            printf '\035%s\n' "$d"; within 20 smartctl -n standby -H -A "/dev/$d"
        done
    fi
fi
s logs
find /var/log -xdev -path /var/log/journal -prune -o -type f -size +1024k -printf '%s %T@ %p\n' 2>/dev/null |
    sort -rn | head -n 30
s logs-size; du -sx -B1 /var/log 2>/dev/null
if systemctl is-active --quiet rabbitmq-server.service; then
    s rabbit; within 40 rabbitmqctl -q --formatter json cluster_status
    s queues; within 40 rabbitmqctl -q --formatter json list_queues name messages consumers
fi
s keys; stat -c '%a %Y %n' /etc/keystone/fernet-keys/* /etc/keystone/credential-keys/* 2>/dev/null
s backups
tab=$(printf '\t')
for line in $backups; do
    printf '\035%s\n' "${line%%"$tab"*}"
    all=$(for f in ${line#*"$tab"}; do if [ -e "$f" ]; then stat -c '%Y %F|%s %n' -- "$f"; fi; done | sort -rn)
    printf '%s\n' "$all" | grep -c .
    printf '%s\n' "$all" | head -n 1
    newest=$(printf '%s\n' "$all" | head -n 1 | sed 's|^[^/]*||')
    if [ -d "$newest" ]; then du -s -B1 -- "$newest" | cut -f 1; fi
done
s namespaces
for n in /run/netns/*; do
    [ -e "$n" ] || continue
    links=$(within 5 ip -n "${n##*/}" -o link | grep -cv '^[0-9]*: lo:')
    printf '%s %s %s %s\n' "$(stat -f -c %T -- "$n")" "$(stat -L -c %i -- "$n")" "$links" "${n##*/}"
done
s netns-of-processes; if [ -d /run/netns ]; then stat -L -c %i /proc/[0-9]*/ns/net 2>/dev/null | sort | uniq -c; fi
s ports
if have ovs-vsctl && systemctl is-active --quiet openvswitch-switch.service openvswitch.service; then
    within 10 ovs-vsctl --timeout=8 --no-headings --format=csv --columns=name,error find Interface 'error!=[]'
fi
s end; date +%s.%N
:
"""


def look(care: Care) -> Command:
    """The command; it takes some seconds of a node's time where RabbitMQ runs, one else."""
    backups = "\n".join(f"{name}\t{backup.files}" for name, backup in care.backups.items())
    return sh(_SCRIPT, "\n".join(care.certificates), backups, label="survey")
