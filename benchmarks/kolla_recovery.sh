#!/bin/sh
# A cluster of which all members crashed, brought back by hand over ssh in kolla-ansible's published sequence.
#   kolla_recovery.sh SSH_CONFIG CONTROL_FOLDER NAME...
#
# Published in openstack/kolla-ansible, ansible/roles/mariadb/tasks/recover_cluster.yml, run by `kolla-ansible
# mariadb-recovery`; the comments below name its tasks. What came later than its commit 026f5cc (2021) is taken in: pc.bootstrap
# stands in the configuration (b27bea5, MariaDB 11.2 cannot set it while it runs), the others start one by one, each until it
# is Synced (Launchpad bugs 1947485 and 2161773). Containers are systemd's unit here; what Ansible does on all hosts is done
# on all at once; its pauses of 6 and 10 seconds between two looks are 0.2, so that the sequence is measured and not they.
set -eu
config=$1 folder=$2
shift 2
names=$*
datadir=/var/lib/mysql/mysql_data
boot=/etc/mysql/mariadb.conf.d/zzz-bootstrap.cnf
on() { host=$1; shift; ssh -F "$config" -o ControlMaster=auto -o "ControlPath=$folder/%n" -o ControlPersist=60 "$host" "$@"; }
status() { on "$1" "mariadb -N -e \"SHOW GLOBAL STATUS LIKE 'wsrep_$2'\"" 2>/dev/null | cut -f2; }
until_says() { until [ "$(status "$1" "$2")" = "$3" ]; do sleep 0.2; done; }

# Cleaning up temp file on localhost; Stop MariaDB containers
rm -f "$folder/bootstrap"
for name in $names; do on "$name" 'systemctl stop mariadb' & done
wait

# Run MariaDB wsrep recovery; Get MariaDB wsrep recovery seqno: the last position in the log
for name in $names; do
    on "$name" 'rm -f /tmp/recovery.log; mariadbd --user=mysql --wsrep-recover --log-error=/tmp/recovery.log >/dev/null 2>&1
        grep -o "Recovered position: .*" /tmp/recovery.log | tail -n 1 | sed "s/.*: [^:]*:\([0-9-]*\).*/\1/"' >"$folder/seqno.$name" &
done
wait

# Comparing seqno value on all mariadb hosts; Writing hostname of host with the largest seqno to temp file: the last wins
for name in $names; do
    mine=$(cat "$folder/seqno.$name")
    for other in $names; do
        if [ "$mine" -lt "$(cat "$folder/seqno.$other")" ]; then continue 2; fi
    done
    echo "$name" >"$folder/bootstrap"
done
first=$(cat "$folder/bootstrap")

# Set grastate.dat file from MariaDB container in bootstrap host; pc.bootstrap beside the options that stand there
on "$first" "sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' $datadir/grastate.dat
    options=\$(my_print_defaults mysqld mariadbd | sed -n 's/^--wsrep[_-]provider[_-]options=//p' | tail -n 1)
    printf '[mysqld]\nwsrep_provider_options=\"%s;pc.bootstrap=yes\"\n' \"\$options\" >$boot"

# Starting first MariaDB container; Wait for first MariaDB container; Wait for MariaDB to become operational
on "$first" galera_new_cluster
until_says "$first" evs_state OPERATIONAL

# Restart slave MariaDB container(s); Wait for slave MariaDB
for name in $names; do
    if [ "$name" = "$first" ]; then continue; fi
    on "$name" 'systemctl start mariadb'
    until_says "$name" local_state_comment Synced
done

# Restart master MariaDB container(s); Wait for master mariadb
on "$first" "rm $boot; systemctl restart mariadb"
for name in $names; do
    until_says "$name" local_state_comment Synced
    until_says "$name" cluster_size "$#"
done
