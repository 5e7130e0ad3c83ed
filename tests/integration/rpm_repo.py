"""A node of Red Hat's family as far as the library's tasks can tell, and a signed repository on it of tiny packages.

What runs there is the real dnf 4.14, rpm 4.18, rpmbuild and createrepo_c, as Debian builds them (the lab's tree `dnf`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = "/srv/stack"
LATER = "/srv/later"  # packages that the repository does not have yet
# The settings are those that Rocky Linux 9 has: of dnf, of rpm, and that no service is enabled unless a preset says so. apt and
# dpkg are put away, since some looks ask a node which of the managers it has.
DISGUISE = r"""
set -e
rm /etc/os-release
cat >/etc/os-release <<'END'
NAME="Rocky Linux"
VERSION="9.4 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PLATFORM_ID="platform:el9"
PRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"
END
mkdir -p /etc/rpm /etc/yum.repos.d /etc/pki/rpm-gpg /var/lib/rpm /usr/lib/systemd/system-preset /root/put-away
cat >/etc/rpm/macros <<'END'
%_dbpath /var/lib/rpm
%__gpg /usr/bin/gpg
%__os_install_post %{nil}
%_build_id_links none
END
cat >/etc/dnf/dnf.conf <<'END'
[main]
gpgcheck=1
installonly_limit=3
clean_requirements_on_remove=True
best=True
skip_if_unavailable=False
END
echo 'disable *' >/usr/lib/systemd/system-preset/99-default-disable.preset
sed -i 's/^enabled = true/enabled = false/' /etc/dnf/plugins/local.conf
mv /usr/bin/apt* /usr/bin/dpkg* /root/put-away
"""
# $1: the folder; then a spec each
BUILD = r"""
set -e
folder=$1; shift
mkdir -p "$folder"
for spec; do
    printf '%s' "$spec" >/root/it.spec
    rpmbuild -bb --quiet --define "_rpmdir $folder" /root/it.spec
done
"""
SIGN = r"""
set -e
export GNUPGHOME=/root/gnupg
if [ ! -d "$GNUPGHOME" ]; then
    mkdir -m 700 "$GNUPGHOME"
    gpg --batch --quiet --passphrase '' --quick-gen-key 'stack test <stack@example.invalid>' rsa2048 sign never
    gpg --armor --export >/root/stack.asc
fi
rpmsign --define '_gpg_name stack test' --addsign "$1"/noarch/*.rpm >/dev/null 2>&1
gpgconf --kill all
cat /root/stack.asc
"""
INDEX = 'set -e; createrepo_c -q "$1"; modifyrepo_c "$2" "$1/repodata" >/dev/null'
ADVISORY = """\
<updates>
<update from="stack@example.invalid" status="final" type="security" version="1">
<id>STACK-2026:1</id><title>sleeper</title><severity>Important</severity><description>it slept too well</description>
<issued date="2026-01-01 00:00:00"/><updated date="2026-01-01 00:00:00"/>
<pkglist><collection short="stack"><name>stack</name>
<package name="stack-sleeper" version="2.0" release="1.el9" epoch="0" arch="noarch" src="stack-sleeper-2.0-1.el9.src.rpm">
<filename>stack-sleeper-2.0-1.el9.noarch.rpm</filename></package>
</collection></pkglist></update>
</updates>
"""


def spec(
    name: str, version: str = "1.0", *, tags: str = "", files: Mapping[str, str] | None = None, post: str = "", also: str = ""
) -> str:
    """A spec file: `tags` are lines of its head, `also` those of a second package `name-tools`; configuration is in /etc."""
    texts = files if files is not None else {f"/usr/share/{name}/version": version}
    install = "install -D -m 644 /dev/stdin %{buildroot}"
    writes = "".join(f"{install}{path} <<'END'\n{text}\nEND\n" for path, text in texts.items())
    listed = "".join(f"{'%config(noreplace) ' if path.startswith('/etc/') else ''}{path}\n" for path in texts)
    second = f"%package tools\nSummary: more\n{also}\n%description tools\nmore\n%files tools\n" if also else ""
    return (
        f"Name: {name}\nVersion: {version}\nRelease: 1.el9\nSummary: a test\nLicense: MIT\nBuildArch: noarch\n{tags}\n"
        f"%description\na test\n{second}%install\n{writes}\n{f'%post{chr(10)}{post}' if post else ''}\n%files\n{listed}"
    )


def unit(name: str) -> dict[str, str]:
    """A service of that name."""
    text = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target"
    return {f"/usr/lib/systemd/system/{name}.service": text}


# what systemd's own macro %systemd_post does
PRESET = "if [ $1 -eq 1 ]; then systemctl --no-reload preset stack-sleeper.service >/dev/null 2>&1 || :; fi\n"
ENABLES = "if [ $1 -eq 1 ]; then systemctl enable stack-eager.service >/dev/null 2>&1 || :; fi\n"
HOLDS_UP = "if [ -p /root/hold-up ]; then cat /root/hold-up; fi\n"
EXTRA = f"[extra]\nname=extra\nbaseurl=file://{REPOSITORY}\nenabled=1\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/EXTRA"

# Debian's files are in no rpm database: this one stands for the distribution itself.
SYSTEM = spec("rocky-release", "9.4", tags="Provides: /bin/sh\nProvides: system-release(releasever) = 9\n", files={})
SPECS = (
    *(
        spec(
            "stack-sleeper",
            version,
            files={**unit("stack-sleeper"), "/etc/stack-sleeper.conf": f"as version {version} brings it"},
            post=PRESET,
        )
        for version in ("1.0", "2.0")
    ),
    spec("stack-tool", tags="Requires: stack-sleeper\nRecommends: stack-extras\n"),
    spec("stack-suite", tags="Requires: stack-tool\n"),
    spec("stack-extras"),
    spec("stack-eager", files=unit("stack-eager"), post=ENABLES, also="Requires: stack-eager"),
    spec("stack-slow", post=HOLDS_UP),
    spec("stack-old"),
    spec("stack-heir", "2.0", tags="Obsoletes: stack-old < 2\nProvides: stack-old = 2\n"),
    *(spec("galera-4", version) for version in ("1.0", "2.0")),
    spec("extra-release", files={"/etc/yum.repos.d/extra.repo": EXTRA}),
)
UNSIGNED = spec("stack-unsigned")
