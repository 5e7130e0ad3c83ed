"""Configuration files edited in place; oslo.config and ConfigParser themselves say what a file means."""

from __future__ import annotations

from configparser import ConfigParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg, iniparser

from nornir_stack.errors import UsageError
from nornir_stack.tasks.config.ini import Dialect, edited, parsed, unreadable, values

if TYPE_CHECKING:
    from pathlib import Path

NOVA = """\
[DEFAULT]

#
# From nova.conf
#

# Availability zone for internal services. (string value)
#internal_service_availability_zone=internal

# Verbose. (boolean value)
#debug = false
my_ip = 10.0.0.8

# Deprecated: this option is a list (multi valued)
#scheduler_hints =
scheduler_hints = a
scheduler_hints = b

[database]
# The SQLAlchemy connection string
#connection = sqlite:///x
connection=mysql://nova:s3cret@db/nova
max_pool_size: 5

[Neutron]
"""


class Oslo(iniparser.BaseParser):
    """oslo.config's own parser, which collects what oslo.config would."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, list[str]]] = {}
        self.section = ""

    def new_section(self, section: str) -> None:
        self.section = section if section == "DEFAULT" else section.lower()
        self.found.setdefault(self.section, {})

    def assignment(self, key: str, value: list[str]) -> None:
        if not self.section:
            raise iniparser.ParseError("no section", self.lineno, key)
        self.found[self.section].setdefault(key, []).append("\n".join(value))


def oracle(text: str, tmp_path: Path) -> dict[str, dict[str, tuple[str, ...]]] | None:
    """What oslo.config reads from a file of this text; None if it refuses it."""
    path = tmp_path / "x.conf"
    path.write_bytes(text.encode())
    parser = Oslo()
    with path.open() as lines:
        try:
            parser.parse(lines.readlines())
        except iniparser.ParseError:
            return None
    return {section: {key: tuple(several) for key, several in keys.items()} for section, keys in parser.found.items()}


def test_a_value_is_replaced_where_it_stands() -> None:
    """With the writing before it (spaces or none, `=` or `:`) kept, and nothing else touched."""
    wanted = {"database": {"connection": ["sqlite://"], "max_pool_size": ["9"]}}
    expected = NOVA.replace("connection=mysql://nova:s3cret@db/nova", "connection=sqlite://").replace(": 5", ": 9")
    assert expected == edited(NOVA, wanted)


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("DEFAULT", "debug", "true", "#debug = false\ndebug = true\n"),
        (
            "DEFAULT",
            "internal_service_availability_zone",
            "z1",
            "#internal_service_availability_zone=internal\ninternal_service_availability_zone=z1\n",
        ),
        ("DEFAULT", "log_dir", "/var/log/nova", "scheduler_hints = b\nlog_dir = /var/log/nova\n\n[database]"),
        ("neutron", "url", "http://x", "[Neutron]\nurl = http://x\n"),
        ("spice", "enabled", "true", "[Neutron]\n\n[spice]\nenabled = true\n"),
    ],
)
def test_where_a_new_line_goes(section: str, key: str, value: str, line: str) -> None:
    """Below its commented default, written like that; else to the end of the section, whatever its case; else a new one."""
    new = edited(NOVA, {section: {key: [value]}})
    assert line in new
    assert [one for one in new.splitlines() if one not in NOVA.splitlines()] != []
    assert values(new, section, key) == (value,)


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (["b"], ["b"]),
        (["x", "b"], ["x", "b"]),
        ([], []),
    ],
)
def test_several_values_of_one_key(wanted: list[str], lines: list[str]) -> None:
    """MultiOpt: as many lines as values, in their order, at the place where they stood."""
    new = edited(NOVA, {"DEFAULT": {"scheduler_hints": wanted}})
    assert lines == [line[18:] for line in new.splitlines() if line.startswith("scheduler_hints = ")]
    assert [line for line in new.splitlines() if "scheduler" not in line] == [
        line for line in NOVA.splitlines() if "scheduler" not in line
    ]


def test_a_value_that_is_there_in_another_writing_is_left() -> None:
    """Quotes that oslo.config takes off, spaces, a section in other case: nothing to do."""
    text = "[Database]\nconnection =   'sqlite://'  \n"
    assert text == edited(text, {"database": {"connection": ["sqlite://"]}})


def test_line_ends_and_a_missing_last_one_are_kept() -> None:
    """A file with CRLF stays one; a last line without an end stays so where nothing follows it."""
    assert edited("[a]\r\nb = 1\r\n", {"a": {"c": ["2"]}}) == "[a]\r\nb = 1\r\nc = 2\r\n"
    assert edited("[a]\nb = 1", {"a": {"b": ["2"]}}) == "[a]\nb = 2"
    assert edited("[a]\nb = 1", {"a": {"c": ["2"]}}) == "[a]\nb = 1\nc = 2\n"
    assert edited("", {"a": {"c": ["2"]}}) == "[a]\nc = 2\n"


def test_a_value_of_several_lines_goes_as_a_whole() -> None:
    """Indented lines belong to the value above them."""
    text = "[a]\nb = 1\n    2\n#b = 3\nc = 4\n"
    assert values(text, "a", "b") == ("1\n2",)
    assert edited(text, {"a": {"b": ["5"]}}) == "[a]\nb = 5\n#b = 3\nc = 4\n"
    assert edited(text, {"a": {"b": []}}) == "[a]\n#b = 3\nc = 4\n"
    assert edited(text, {"a": {"b": ["7\n8"]}}) == "[a]\nb = 7\n    8\n#b = 3\nc = 4\n"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("a", "b", "x\n\ny"),
        ("a", "b", "x\n  y"),
        ("a", "b", "x\ry"),
        ("a", "b=c", "x"),
        ("a", "#b", "x"),
        ("a", " b", "x"),
        ("a", "", "x"),
        ("a]", "b", "x"),
        ("a\n", "b", "x"),
        ("", "b", "x"),
    ],
)
def test_what_would_not_read_back_is_refused(section: str, key: str, value: str) -> None:
    """And the value, which may be a secret, is not in the message."""
    with pytest.raises(UsageError) as caught:
        edited("", {section: {key: [value]}})
    assert value not in str(caught.value) or value == "x"


def test_files_that_a_program_would_not_read() -> None:
    """The notebook's ceilometer.conf: an indented comment below a comment. The service would not start."""
    text = "[DEFAULT]\ntime_to_live=604800\n\n# Record alarm change events. (boolean value)\n #record_history=true\n"
    assert unreadable(text) == ("line 5: it is indented, and there is no value above that it could go on",)
    assert unreadable(text, dialect="paste") == ()
    assert [problem.partition(":")[0] for problem in unreadable("a = 1\n[b] # x\nc\n= d\n")] == [
        "line 1",
        "line 2",
        "line 3",
        "line 4",
    ]


PASTE = """\
[pipeline:main]
# the order matters
pipeline =
    catch_errors
    # authtoken goes before s3token
    authtoken

    proxy-server
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
set log_name = swift
   # identity_uri = http://x
password = "a%%b"
"""


def squeezed(value: str) -> str:
    """Without the blank lines that ConfigParser leaves in a value: no reader of such files counts them."""
    return "\n".join(filter(None, value.split("\n")))


def test_paste_files_are_read_as_configparser_does() -> None:
    """Comments and blank lines within a value, quotes that stay, colons in values, keys with a space."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(PASTE)
    expected = {name: {key: squeezed(value) for key, value in parser[name].items()} for name in parser.sections()}
    ours = {name: {key: squeezed(*them) for key, them in of.items()} for name, of in parsed(PASTE, dialect="paste").items()}
    assert expected == ours


def test_paste_files_are_edited_around_comments() -> None:
    """A new key does not cut the value of several lines in which its commented default stands."""
    new = edited(
        PASTE, {"filter:authtoken": {"auth_url": ["http://k:5000"]}, "filter:s3api": {"use": ["egg:x#y"]}}, dialect="paste"
    )
    assert new.startswith(PASTE)
    assert new.endswith('password = "a%%b"\nauth_url = http://k:5000\n\n[filter:s3api]\nuse = egg:x#y\n')
    inside = "[a]\nb = 1\n#c = 2\n  3\nd = 4\n"
    assert edited(inside, {"a": {"c": ["9"]}}, dialect="paste") == "[a]\nb = 1\n#c = 2\n  3\nc = 9\nd = 4\n"
    with pytest.raises(UsageError, match=r"touch \[a\]"):
        edited("[a]\n  b = 1\n#c = 2\n  d = 4\n", {"a": {"c": ["9"]}}, dialect="paste")


# properties

names = st.sampled_from(["DEFAULT", "a", "A", "b", "keystone_authtoken"])
keys = st.sampled_from(["x", "y", "debug", "transport_url"])
plain = st.text(st.characters(blacklist_characters="\r\n\x00", blacklist_categories=["Cs"]), max_size=8)
odd = st.sampled_from(
    ["", " ", "'", '"', '""', "'a'", "$x", "$$", "=", "a = b", "#", "; c", "[x]", "\t", "a\nb", "\x0c", "\u2028"]
)
signs = st.sampled_from(["=", " = ", ": ", " =", "=  "])
texts = st.one_of(plain, odd)
file_lines = st.one_of(
    names.map("[{}]".format),
    st.builds("{}{}{}".format, keys, signs, texts.map(lambda t: t.replace("\n", ""))),
    st.builds("#{} = {}".format, keys, plain),
    st.builds("    {}".format, plain),
    st.sampled_from(["", "# words", "; more", "   "]),
)
files = st.builds(
    lambda lines, end, last: end.join(lines) + (end if last else ""),
    st.lists(file_lines, max_size=14),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
wishes = st.dictionaries(names, st.dictionaries(keys, st.lists(texts, max_size=3), max_size=3), max_size=2)


def tried(text: str, wanted: dict[str, dict[str, list[str]]], dialect: Dialect = "oslo") -> str | None:
    try:
        return edited(text, wanted, dialect=dialect)
    except UsageError:
        return None


@given(text=files)
def test_files_are_read_as_oslo_config_does(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same values, and the same files refused."""
    expected = oracle(text, tmp_path_factory.getbasetemp())
    assert (expected is None) == bool(unreadable(text))
    if expected is not None:
        assert expected == parsed(text)


@given(text=files, wanted=wishes)
def test_an_edit_has_the_values_that_oslo_config_reads(
    text: str, wanted: dict[str, dict[str, list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All wanted values, all others as before, by oslo.config's own parser; twice is as once; all other lines as they were."""
    before = oracle(text, tmp_path_factory.getbasetemp())
    new = tried(text, wanted)
    if before is None or new is None:
        return
    after = oracle(new, tmp_path_factory.getbasetemp())
    assert after is not None
    asked = {(s if s == "DEFAULT" else s.lower(), key) for s, keys_ in wanted.items() for key in keys_}
    for section, several in wanted.items():
        for key, them in several.items():
            same = section if section == "DEFAULT" else section.lower()
            if sum((s if s == "DEFAULT" else s.lower()) == same and key in k for s, k in wanted.items()) == 1:
                assert after.get(same, {}).get(key, ()) == tuple(them)
    for section, found in before.items():
        for key, them_ in found.items():
            if (section, key) not in asked:
                assert after[section][key] == them_
    if len({s.lower() for s in wanted}) == len(wanted):
        assert edited(new, wanted) == new


@given(text=files, wanted=wishes)
def test_all_else_is_byte_for_byte_as_it_was(text: str, wanted: dict[str, dict[str, list[str]]]) -> None:
    """Every line that is no assignment of a wanted key stands in the new text, in the same order, with its end."""
    new = tried(text, wanted)
    if unreadable(text) or new is None:
        return
    asked = {key for several in wanted.values() for key in several}
    rest = [line for line in text.splitlines(keepends=True) if not is_of(line, asked)]
    there = iter(new.splitlines(keepends=True))
    missing = [line for line in rest if not any(line in {one, one.rstrip("\r\n")} for one in there)]
    assert missing == []


def is_of(line: str, asked: set[str]) -> bool:
    return line[:1].isspace() or line.replace(":", "=").partition("=")[0].strip() in asked


def test_interpolation_is_oslo_configs_own(tmp_path: Path) -> None:
    """`$my_ip` written by the editor is what oslo.config makes the other option of; a MultiOpt has all its values."""
    path = tmp_path / "nova.conf"
    wanted = {"DEFAULT": {"listen": ["$my_ip"], "hint": ["1", "2"], "quoted": [" a "]}, "spice": {"price": ["5$$"]}}
    path.write_text(edited(NOVA, wanted))
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("my_ip"), cfg.StrOpt("listen"), cfg.MultiStrOpt("hint"), cfg.StrOpt("quoted")])
    conf.register_opts([cfg.StrOpt("price")], group="spice")
    conf(["--config-file", str(path)])
    assert (conf.listen, conf.hint, conf.quoted, conf.spice.price) == ("10.0.0.8", ["1", "2"], " a ", "5$")
