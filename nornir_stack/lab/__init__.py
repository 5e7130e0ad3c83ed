"""Real nodes on this machine: an inventory's hosts as systemd-nspawn containers. Knows nothing of tasks."""

from nornir_stack.lab.lab import Lab, NodeStatus
from nornir_stack.lab.machine import LabError, reason_against
from nornir_stack.lab.spec import LabSpec, NodeSpec, lab_of

__all__ = ["Lab", "LabError", "LabSpec", "NodeSpec", "NodeStatus", "lab_of", "reason_against"]
