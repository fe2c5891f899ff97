"""`ccdeploy serve` as a user meets it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_toys import FREE, Serving, asked, toy, until

from ccdeploy.commands import serve_view
from ccdeploy.errors import MissingError
from ccdeploy.serving.contract import TOKEN_HEADER

MAIN = "from ccdeploy.commands import main; main()"
TOKEN = "a-token-of-the-tests_0123456789"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Starts `ccdeploy serve REPOSITORY`; what it leaves running where a test fails is killed."""
    made: list[Serving] = []

    def start(repository: Path, *options: str, **more: str) -> Serving:
        made.append(Serving(repository, tmp_path, *options, **more))
        return made[-1]

    yield start
    for each in made:
        each.kill()


@pytest.fixture
def no_server(monkeypatch):
    """There is none: what needs none must not look for one."""

    def none(*arguments: object) -> None:
        raise MissingError("no server", "none")

    monkeypatch.setattr("ccdeploy.serving.server.lifetime.find_server", none)


def test_help_answers_without_what_is_heavy():
    script = (
        "import sys; sys.argv = ['ccdeploy', 'serve', '--help']\n"
        "from ccdeploy.commands import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'numpy', 'rich', 'tritonclient'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert said.splitlines()[-2:] == ["0", "[]"]
    for word in ("--model-control", "--token-file", "--server-binary", "Exit codes", "130"):
        assert word in said


def test_the_commands_are_printed_without_a_server(ccdeploy, repository, no_server):
    ended = ccdeploy("serve", repository, "--print-only", "--http-port", 18000)
    assert ended.code == 0
    lines = [line.strip() for line in ended.out.splitlines()]
    server = next(shlex.split(line) for line in lines if line.startswith("env "))
    docker = next(shlex.split(line) for line in lines if line.startswith("docker run"))
    assert server[2] == "tritonserver"
    assert f"--model-repository={repository}" in server
    assert "--publish=127.0.0.1:18000:8000" in docker
    assert any(line.startswith("export CCDEPLOY_TOKEN=") for line in lines)


def test_the_commands_as_json(ccdeploy, repository, no_server):
    ended = ccdeploy("serve", repository, "--print-only", "--json", "--image", "mine:1")
    document = json.loads(ended.out)
    assert ended.code == 0
    assert document["deployments"] == [{"name": "tiny", "version": 1, "backend": "python"}]
    assert "mine:1" in shlex.split(document["commands"]["docker"])
    assert "tritonserver" in shlex.split(document["commands"]["tritonserver"])


def test_without_a_server_it_ends_with_3(ccdeploy, repository, no_server):
    ended = ccdeploy("serve", repository, *FREE)
    assert ended.code == 3
    assert "no server" in ended.err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--address", "localhost"), "is no address"),
        (("--http-port", "8001"), "share a port"),
        (("--http-port", "70000"), "70000"),
        (("--token-file", "none"), "cannot be read"),
        (("--server-binary", "none"), "no program"),
    ],
)
def test_wrong_options_end_with_2(ccdeploy, repository, tmp_path, monkeypatch, options, what):
    monkeypatch.chdir(tmp_path)
    ended = ccdeploy("serve", repository, *options)
    assert ended.code == 2
    assert what in ended.err


@pytest.mark.parametrize("kind", ["none", "file", "empty"])
def test_what_is_no_repository_ends_with_2(ccdeploy, tmp_path, kind):
    path = tmp_path / "repository"
    if kind == "file":
        path.write_text("x")
    if kind == "empty":
        path.mkdir()
    for more in ((), ("--print-only",)):
        ended = ccdeploy("serve", path, *more)
        assert ended.code == 2
        assert "ccdeploy package" in ended.err


def test_an_address_that_is_not_loopback_is_warned_of(ccdeploy, repository, no_server):
    assert "warning: whoever reaches 0.0.0.0" in ccdeploy("serve", repository, "--address", "0.0.0.0").err
    assert "warning" not in ccdeploy("serve", repository).err


def test_what_a_client_put_into_the_log_is_no_command_to_the_terminal(capsys):
    serve_view._log_line("\x1b]0;title\x07 ü \x9b2J")
    assert capsys.readouterr().err == "\\x1b]0;title\\x07 ü \\x9b2J\n"


@pytest.mark.usefixtures("server_is_there")
def test_what_is_printed_is_all_that_is_needed(started, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    serving = started(toy(tmp_path / "repository"), "--model-control", "--token-file", str(file))
    lines: list[str] = []
    while "Ctrl-C stops it." not in lines:
        lines.append(serving.process.stdout.readline().rstrip("\n"))
        assert serving.process.poll() is None, serving.says()
    facts = {line.split()[0]: line.split(None, 1)[-1] for line in lines[: lines.index("")]}
    assert facts["server"].startswith("Triton 2.")
    assert facts["control"] == f"with the header {TOKEN_HEADER}: as in the token's file"
    unload = "/v2/repository/models/double/unload"
    assert asked(facts["HTTP"], "POST", unload) == 403
    assert asked(facts["HTTP"], "POST", unload, {TOKEN_HEADER: TOKEN}) == 200
    serving.tell(signal.SIGINT)
    assert serving.ended() == 0
    assert TOKEN not in "\n".join(lines) + serving.says()


@pytest.mark.usefixtures("server_is_there")
def test_a_repository_of_package_is_served_until_ctrl_c(started, repository, artefact):
    from serving_parts import expected, picture

    from ccdeploy.serving.client import connect

    serving = started(repository, "--json", script=MAIN)
    until(lambda: serving.look() or serving.process.poll() is not None, "it starts or ends")
    serving.ready()
    assert [served["name"] for served in serving.document["deployments"]] == ["tiny"]
    assert serving.document["token"] is None
    content = picture(artefact, 61, 83, seed=5)
    with connect(serving.document["http"], model="tiny") as client:
        assert (client.segment(content) == expected(artefact, [content])[0]).all()
    serving.tell(signal.SIGINT)
    assert serving.ended() == 0
    serving.leaves_nothing()
