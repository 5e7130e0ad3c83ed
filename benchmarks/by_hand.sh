#!/bin/sh
# The same cluster by hand over ssh: the steps and checks of galera.form, for three prepared nodes.
#   by_hand.sh SSH_CONFIG CONFIG_FOLDER PASSWORD_FILE NAME=ADDRESS...     CONFIG_FOLDER/NAME.cnf is each member's file
set -eu
config=$1 folder=$2 password=$3
shift 3
names=$(for pair in "$@"; do echo "${pair%=*}"; done)
first=${1%%=*}
datadir=/var/lib/mysql/mysql_data
on() { host=$1; shift; ssh -F "$config" -o ControlMaster=auto -o "ControlPath=$folder/%n" -o ControlPersist=60 "$host" "$@"; }
status() { on "$1" "mariadb -N -e \"SHOW GLOBAL STATUS LIKE 'wsrep_$2'\"" | cut -f2; }
# Debian upgrades the system tables behind a start: what is written meanwhile may hang (docs/galera.md), so that is waited for.
upgrading() { on "$1" 'pgrep -x "debian-start|mariadb-upgrade|mysql_upgrade"' >/dev/null; }
synced() { # host size
    until [ "$(status "$1" local_state_comment 2>/dev/null)" = Synced ] && [ "$(status "$1" cluster_size)" = "$2" ] \
        && ! upgrading "$1"; do sleep 0.2; done
}

for name in $names; do
    {
        on "$name" "dpkg-query -W mariadb-server galera-4 rsync socat >/dev/null"
        for pair in "$@"; do echo "${pair#*=} ${pair%=*}"; done | on "$name" 'cat >>/etc/hosts'
        on "$name" 'cat >/etc/mysql/mariadb.conf.d/zz-galera.cnf' <"$folder/$name.cnf"
        on "$name" "install -d -m 0750 -o mysql -g mysql $datadir"
        on "$name" 'systemctl is-active mariadb' >/dev/null && { echo "$name runs already" >&2; exit 1; }
        on "$name" "test ! -e $datadir/grastate.dat"
    } &
done
wait
on "$first" "mariadb-install-db --user=mysql --datadir=$datadir --skip-test-db --auth-root-authentication-method=socket" >/dev/null
on "$first" galera_new_cluster
synced "$first" 1
size=1
for name in $names; do
    [ "$name" = "$first" ] && continue
    size=$((size + 1))
    on "$name" 'systemctl start mariadb'
    synced "$name" "$size"
    for other in $names; do # everyone who is in sees the new member
        [ "$other" = "$name" ] || { on "$other" 'systemctl is-active -q mariadb' && synced "$other" "$size"; } || [ "$size" -lt 3 ]
    done
done
on "$first" 'systemctl restart mariadb'
for name in $names; do synced "$name" 3; done
{
    echo "CREATE SCHEMA my_test_db;"
    printf "CREATE USER 'app'@'%%' IDENTIFIED BY '%s'; GRANT ALL ON my_test_db.* TO 'app'@'%%';" "$(cat "$password")"
    echo "CREATE TABLE my_test_db.probe (mark VARCHAR(120) PRIMARY KEY); INSERT INTO my_test_db.probe VALUES ('written');"
} | on "$first" mariadb
for name in $names; do
    on "$name" 'systemctl -q enable mariadb'
    [ "$(on "$name" 'mariadb -N -e "SET SESSION wsrep_sync_wait = 1; SELECT mark FROM my_test_db.probe"')" = written ]
    [ "$(status "$name" cluster_state_uuid)" = "$(status "$first" cluster_state_uuid)" ]
    [ "$(status "$name" cluster_conf_id)" = "$(status "$first" cluster_conf_id)" ]
done
