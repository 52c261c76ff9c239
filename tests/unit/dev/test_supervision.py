"""What supervisord reads is what the programs say."""

import configparser
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_dev.supervision import Program, render_environment, render_program, render_supervisor


def program(**changed: object) -> Program:
    values: dict[str, object] = {"name": "agent", "command": ("/bin/agent",), "log": Path("/logs/agent.log")}
    return Program(**(values | changed))  # type: ignore[arg-type]  # why: a table of overrides


def parse(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def test_a_killed_program_is_started_again_without_end() -> None:
    section = parse(render_program(program()))["program:agent"]
    assert section["autorestart"] == "true"
    assert int(section["startretries"]) >= 1_000_000


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), min_size=1, max_size=4))
def test_arguments_arrive_as_they_were_given(arguments: list[str]) -> None:
    command = parse(render_program(program(command=tuple(arguments))))["program:agent"]["command"]
    assert shlex.split(command.replace("%%", "%")) == arguments


def test_variables_keep_percent_signs_and_commas() -> None:
    assert render_environment({"B": "x,y", "A": "100%"}) == 'A="100%%",B="x,y"'


@pytest.mark.parametrize("value", ['a "quote"', "two\nlines"])
def test_a_variable_that_the_notation_cannot_carry_is_refused_by_name(value: str) -> None:
    with pytest.raises(ValueError, match="TOKEN"):
        render_environment({"TOKEN": value})


def test_a_hosts_init_also_reads_what_its_agent_adds() -> None:
    text = render_supervisor(
        socket=Path("/run/nephos/launcher.sock"),
        pid_file=Path("/run/nephos/launcher.pid"),
        log=Path("/logs/supervisord.log"),
        programs=(program(),),
        include=Path("/run/nephos/launcher.d"),
    )
    parsed = parse(text)
    assert parsed["include"]["files"] == "/run/nephos/launcher.d/*.conf"
    assert parsed["unix_http_server"]["chmod"] == "0700"
    assert "program:agent" in parsed
