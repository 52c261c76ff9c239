"""What supervisord is told: programs as data, rendered to its configuration file."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LOG_BYTES = 20_000_000
_RETRIES = 1_000_000  # a program that keeps failing is for `status` to show, not for the supervisor to give up on


@dataclass(frozen=True, kw_only=True)
class Program:
    """One supervised process. It is restarted whenever it ends; `stop_wait_s` passes before it is killed."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_wait_s: int = 15
    autostart: bool = False


def render_program(program: Program) -> str:
    """Return the supervisord section of one program."""
    lines = {
        "command": _escape(shlex.join(program.command)),
        "autostart": str(program.autostart).lower(),
        "autorestart": "true",
        "startretries": str(_RETRIES),
        "stopwaitsecs": str(program.stop_wait_s),
        "redirect_stderr": "true",
        "stdout_logfile": _escape(str(program.log)),
        "stdout_logfile_maxbytes": str(_LOG_BYTES),
        "stdout_logfile_backups": "1",
    }
    if program.environment:
        lines["environment"] = render_environment(program.environment)
    return _section(f"program:{program.name}", lines)


def render_environment(environment: Mapping[str, str]) -> str:
    """Return variables in supervisord's notation. Raises ValueError for what the notation cannot carry."""
    for name, value in environment.items():
        if '"' in value or "\n" in value:
            raise ValueError(f"{name}: a quote or a newline cannot be handed to a supervised process")
    return ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(environment.items()))


def render_supervisor(
    *, socket: Path, pid_file: Path, log: Path, programs: Iterable[Program], include: Path | None = None
) -> str:
    """Return a whole supervisord configuration; `include` is a folder whose *.conf files add programs."""
    sections = [
        _section("unix_http_server", {"file": _escape(str(socket)), "chmod": "0700"}),
        _section(
            "supervisord",
            {
                "logfile": _escape(str(log)),
                "logfile_maxbytes": str(_LOG_BYTES),
                "logfile_backups": "1",
                "loglevel": "info",
                "pidfile": _escape(str(pid_file)),
                "childlogdir": _escape(str(log.parent)),
                "strip_ansi": "false",
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        *(render_program(program) for program in programs),
    ]
    if include:
        sections.append(_section("include", {"files": f"{include}/*.conf"}))
    return "\n".join(sections)


def _section(name: str, lines: Mapping[str, str]) -> str:
    body = "".join(f"{key}={value}\n" for key, value in lines.items())
    return f"[{name}]\n{body}"


def _escape(value: str) -> str:
    return value.replace("%", "%%")
