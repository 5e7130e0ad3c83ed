"""What services leave in their databases when something is deleted, and their own commands that take it away. Data.

Keystone is not here: it keeps no Fernet tokens (`keystone-manage token_flush` was for the table of UUID tokens), and deletes
what is deleted. Neutron and Placement delete at once too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sweep:
    """A command of a service, run as its user. In its words `{day}`, `{days}` and `{rows}` are filled in.

    It is run again while it ends with a status of `more`, at most as often as allowed; `done` are its other good ends.
    """

    argv: tuple[str, ...]
    done: tuple[int, ...] = (0,)
    more: tuple[int, ...] = ()


@dataclass(frozen=True)
class Left:
    """A service that only marks rows as deleted. `schemas` is a pattern of its databases' names (the server's REGEXP).

    `shadow`: the prefix of tables that deleted rows are moved to first; a table without such a twin keeps its rows.
    `kept` are tables that are left alone.
    """

    service: str
    program: str
    schemas: str
    sweeps: tuple[Sweep, ...]
    shadow: str = ""
    kept: tuple[str, ...] = ()


# Tables of Nova's that its code no longer knows and that may still be there (REMOVED_TABLES in nova/db/main/models.py, 26.1.1):
# what is marked as deleted in them stays.
_UNKNOWN = (
    "agent_builds aggregate_hosts aggregate_metadata aggregates allocations bw_usage_cache cells console_pools consoles"
    " dns_domains fixed_ips floating_ips instance_group_member instance_group_policy instance_groups instance_type_extra_specs"
    " instance_type_projects instance_types inventories key_pairs networks provider_fw_rules resource_provider_aggregates"
    " resource_providers security_group_default_rules snapshot_id_mappings snapshots volume_id_mappings"
)
# nova/cmd/manage.py, archive_deleted_rows and purge: 1 is more to archive, 3 is nothing to purge. --all-cells is Train's.
NOVA = Left(
    "nova",
    "nova-manage",
    "^nova(_cell[0-9a-z_]*)?$",
    (
        Sweep(
            ("nova-manage", "db", "archive_deleted_rows", "--all-cells", "--before={day}", "--max_rows={rows}"),
            more=(1,),
        ),
        Sweep(("nova-manage", "db", "purge", "--all-cells", "--before={day}"), done=(0, 3)),
    ),
    shadow="shadow_",
    kept=tuple(_UNKNOWN.split()),
)
# cinder-manage(1): "db purge", whose one word is an age in days
CINDER = Left("cinder", "cinder-manage", "^cinder$", (Sweep(("cinder-manage", "db", "purge", "{days}")),))
# glance-manage(1): "db purge". It leaves the table of images, for a reason: the id of one that is gone there may be given to
# another image (OSSN-0075), so `db purge_images_table` is for people.
GLANCE = Left(
    "glance",
    "glance-manage",
    "^glance$",
    (Sweep(("glance-manage", "db", "purge", "--age_in_days={days}", "--max_rows={rows}")),),
    kept=("images",),
)
# heat-manage(1): purge_deleted, with an age and its unit
HEAT = Left("heat", "heat-manage", "^heat$", (Sweep(("heat-manage", "purge_deleted", "-g", "days", "{days}")),))
TABLE = {one.service: one for one in (NOVA, CINDER, GLANCE, HEAT)}
