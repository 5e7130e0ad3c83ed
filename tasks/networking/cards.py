"""Cards keep the name by which they are declared, by their hardware address (systemd.link(5)). Pure.

A name that udev makes of the slot may be another at the next boot: of a card that was plugged in while a machine ran, or
after another one was taken out.
"""

from __future__ import annotations


def pinned(name: str, mac: str) -> tuple[str, str]:
    """The file, and its text. Its permanent address: a bridge or a VLAN over the card has the same one, but not for good."""
    return f"/etc/systemd/network/70-nornir-stack-{name}.link", f"[Match]\nPermanentMACAddress={mac}\n\n[Link]\nName={name}\n"
