"""Diffs of configuration files without the secrets in them."""

from __future__ import annotations

import pytest

from nornir_stack.hidden import hidden, masked_diff
from nornir_stack.secret import Secret

OLD = "[DEFAULT]\ntransport_url = rabbit://a:pw1@h1:5672,a:pw2@h2:5672/\n[x]\nadmin_password = old1\ndebug = false\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("password = s3cret", "password = ********"),
        ("#admin_token=s3cret", "#admin_token=********"),
        ("metadata_proxy_shared_secret: s3cret", "metadata_proxy_shared_secret: ********"),
        ("memcache_secret_key = s3cret", "memcache_secret_key = ********"),
        ("transport_url = rabbit://a:p@h1,b:q@h2/", "transport_url = rabbit://a:********@h2/"),
        ("connection=mysql://u:p@ss@db/nova", "connection=mysql://u:********@db/nova"),
        ("CONFIG_NOVA_DB_PW=s3cret", "CONFIG_NOVA_DB_PW=********"),
        ("wsrep_sst_auth = sst:s3cret", "wsrep_sst_auth = ********"),
        ("psk=s3cret", "psk=********"),
        ("NETMASK=255.255.255.0", "NETMASK=255.255.255.0"),
        ("max_token_size = 255", "max_token_size = 255"),
        ("ssl_key = /etc/ssl/private/x.pem", "ssl_key = /etc/ssl/private/x.pem"),
        ("secret = $other", "secret = $other"),
        ("auth_url = http://k:5000/v3", "auth_url = http://k:5000/v3"),
        ("# the password of the user", "# the password of the user"),
    ],
)
def test_what_is_hidden(line: str, shown: str) -> None:
    """Passwords, tokens and keys by the name of their key, passwords in URLs wherever they are; not numbers and paths."""
    assert shown == hidden(line)


def test_a_secret_that_changed_shows_as_a_change() -> None:
    """And neither the old one nor the new one is in the diff, nor one that only stands beside."""
    shown = masked_diff("/etc/x.conf", OLD, OLD.replace("old1", "new1"))
    assert "-admin_password = ********\n+admin_password = ********\n" in shown
    assert not [word for word in ("old1", "new1", "pw1", "pw2") if word in shown]
    assert shown.startswith("--- /etc/x.conf\n+++ /etc/x.conf\n@@ -1,5 +1,5 @@\n [DEFAULT]\n")


def test_secrets_of_several_lines() -> None:
    """The lines that go on a secret are hidden too."""
    shown = masked_diff("/x", None, "private_key = -----BEGIN\n    MIIE\n    END\nb = 1\n")
    assert shown == "--- /dev/null\n+++ /x\n@@ -0,0 +1,4 @@\n+private_key = ********\n+    ********\n+    ********\n+b = 1\n"


def test_what_stands_beside_a_secret() -> None:
    """Indented as it is, a line does not go on it."""
    shown = masked_diff("/x", None, "wifi:\n  password: s3cret\n  dhcp4: true\n")
    assert shown.endswith("+wifi:\n+  password: ********\n+  dhcp4: true\n")


def test_equal_files_have_no_diff() -> None:
    """And files that differ in line ends only say so."""
    assert masked_diff("/x", OLD, OLD) == ""
    assert masked_diff("/x", "a\r\n", "a\n").endswith("only line ends differ\n")


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("    auth_pass OLD\n", "    auth_pass {}\n", "-    auth_pass ********"),
        ("wsrep_sst_auth = sst:OLD\n", 'wsrep_sst_auth="sst:{}"\n', "-wsrep_sst_auth = ********"),
        ("$link->real_connect('h', 'u', 'OLD');\n", "$link->real_connect('h', 'u', '{}');\n", "-$link->real_connect('********"),
        ("CONFIG_ADMIN_PW=OLD\n", "CONFIG_ADMIN_PW={}\n", "-CONFIG_ADMIN_PW=********"),
        ("<pw>OLD</pw>\n", "<pw>{}</pw>\n", "-<pw>********"),
        ("a\nOLD\n", "a\n{}\n", "-********"),
    ],
)
def test_the_secret_that_stood_there_before_is_hidden_too(old: str, new: str, gone: str) -> None:
    """Nobody knows the value of a rotated password any more; the line that goes is hidden by what its place is."""
    secret = Secret(literal="s3cret of today").reveal()
    shown = masked_diff("/x", old, new.format(secret))
    assert "OLD" not in shown
    assert gone in shown


def test_only_the_place_of_a_secret_is_hidden() -> None:
    """Lines that go from elsewhere are shown, those whose first word only begins alike too."""
    secret = Secret(literal="s3cret of today").reveal()
    shown = masked_diff("/x", "auth_pass OLD\nauth_pass_type x\ndebug 1\n", f"auth_pass {secret}\n")
    assert "-auth_pass_type x\n-debug 1\n" in shown


def test_a_file_that_goes_and_one_that_is_empty() -> None:
    """The one without today's secrets still hides what its keys call one; the other is not called a line's end."""
    assert masked_diff("/x", "password = OLD\n", None) == "--- /x\n+++ /dev/null\n@@ -1 +0,0 @@\n-password = ********\n"
    assert masked_diff("/x", None, "") == "--- /dev/null\n+++ /x\nempty\n"
