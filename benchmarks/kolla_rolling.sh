#!/bin/sh
# A rolling restart by hand over ssh as kolla-ansible does it: ansible/mariadb.yml, "Restart mariadb services", serial 33 %.
#   kolla_rolling.sh SSH_CONFIG CONTROL_FOLDER NAME...
# Each member is restarted and waited for (its port, then Synced); the load balancer is told nothing and finds out itself.
set -eu
config=$1 folder=$2
shift 2
on() { host=$1; shift; ssh -F "$config" -o ControlMaster=auto -o "ControlPath=$folder/%n" -o ControlPersist=60 "$host" "$@"; }
synced() { on "$1" "mariadb -N -e \"SHOW GLOBAL STATUS LIKE 'wsrep_local_state_comment'\"" 2>/dev/null | grep -q Synced; }
for name in "$@"; do
    on "$name" 'systemctl restart mariadb'
    until synced "$name"; do sleep 0.2; done
done
