import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from registryd.__main__ import COMMANDS, main
from registryd.commands.settings_flags import takes_settings
from registryd.config.agent import Settings
from registryd.failures import CommandFailed
from registryd.version import VERSION


def failing() -> NoReturn:
    raise CommandFailed("the socket is\nnot there")


def interrupted() -> NoReturn:
    raise KeyboardInterrupt


def answering() -> int:
    return 3


@takes_settings("store", "log")
def moving(settings: Settings, archive: Path, /) -> None:
    print(settings.store.directory, settings.store.namespaces, settings.peers.find_timeout, archive)


@takes_settings("log")
async def waiting(settings: Settings) -> None:
    await asyncio.sleep(0)
    print(settings.log.level)


FAKES = {name: (f"{__name__}:{name}", name) for name in ("failing", "interrupted", "answering", "moving", "waiting")}


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """The one line that `main` writes for these words, which must end with code 2 and no output."""
    monkeypatch.setenv("COLUMNS", "40")

    def run(*words: str) -> str:
        assert main(words) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        return shown.err.strip()

    return run


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("agnt", "there is no command 'agnt'; did you mean agent?"),
        ("frobnicate", f"there is no command 'frobnicate'; there are {', '.join(COMMANDS)}"),
        ("agent --peers.find_timeut 1s", "there is no flag '--peers.find_timeut'; did you mean --peers.find_timeout?"),
        ("agent --frobnicate", "there is no flag '--frobnicate'; --help lists them"),
        ("agent word", "there is no place for 'word' here"),
        ("agent --peers.find_timeout", 'Command "agent" parameter --peers.find_timeout requires an argument.'),
        (
            "agent --peers.find_timeout=1",
            "peers.find_timeout: expected a duration such as 3s, 200ms or 1m30s; got '1' (from --peers.find_timeout)",
        ),
        (
            "agent --peers.insecure=maybe",
            "--peers.insecure: expected true or false, or no value at all; got 'maybe'",
        ),
        (
            "agent --log.level info --log.level debug",
            "log.level: expected one of debug, info, warning, error; got 'info,debug' (from --log.level)",
        ),
        ("agent --config /none.toml", "config: cannot read /none.toml: No such file or directory"),
        (
            "agent --peers.listen 127.0.0.1:0",
            (
                "peers.content_listen: 0.0.0.0:3174 is open to the network, where anyone could fetch this node's "
                "images; set peers.secret_file (`registryd secret new` prints one) or peers.tls_cert, tls_key and "
                "tls_ca, or listen on 127.0.0.1; peers.insecure = true lets anyone in"
            ),
        ),
    ],
)
def test_what_is_wrong_is_one_line(complaint: object, words: str, line: str) -> None:
    assert callable(complaint)
    assert complaint(*words.split()) == f"registryd: {line}"


def test_an_unknown_variable_is_one_line(complaint: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRYD_PEERS_LISTN", "x")
    assert callable(complaint)
    assert "REGISTRYD_PEERS_LISTN: there is no such setting" in complaint("agent")


def test_a_foreign_word_cannot_forge_a_line(complaint: object) -> None:
    assert callable(complaint)
    assert complaint("agent", "--x\nregistryd: all is well\x1b[0m").isprintable()


def test_a_failure_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["failing"], commands=FAKES) == 1
    assert capsys.readouterr().err == "registryd: the socket is not there\n"


def test_an_interruption_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interrupted"], commands=FAKES) == 130
    assert capsys.readouterr() == ("", "")


def test_a_command_may_return_a_code() -> None:
    assert main(["answering"], commands=FAKES) == 3


def test_a_command_takes_its_own_arguments_and_the_settings_of_all_sources(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "registryd.toml"
    file.write_text("[peers]\nfind_timeout = '1s'\n[store]\nnamespaces = ['moby']\n")
    monkeypatch.setenv("REGISTRYD_STORE_NAMESPACES", "default")
    assert main(["moving", "a.tar", "--store.directory", "/srv", "--config", str(file)], commands=FAKES) == 0
    assert capsys.readouterr().out == "/srv ('default',) 1.0 a.tar\n"
    assert main(["moving", "a.tar", "--peers.insecure"], commands=FAKES) == 2


def test_a_coroutine_is_run_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    # looptime opens an event loop in this thread, which `asyncio.run` would drop unclosed.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(main, ["waiting", "--log.level", "debug"], commands=FAKES).result() == 0
    assert capsys.readouterr().out == "debug\n"


def test_a_flag_may_be_repeated_or_negated(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["moving", "a.tar", "--store.namespaces", "a", "--store.namespaces=b,c", "--store.directory", "/srv"]
    assert main(words, commands=FAKES) == 0
    assert capsys.readouterr().out == "/srv ('a', 'b', 'c') 1.0 a.tar\n"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in COMMANDS)


def test_help_of_the_agent_has_a_group_for_each_section(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["agent", "--help"]) == 0
    shown = capsys.readouterr().out
    sections = [line.split()[1] for line in shown.splitlines() if line.startswith("╭─")]
    assert sections == ["Parameters", *Settings.__dataclass_fields__]
    assert "--registry.listen HOST:PORT" in shown
    assert "[default: 127.0.0.1:3172]" in shown
    assert "[default: ]" not in shown
    assert "env var" not in shown


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


def test_the_version_needs_no_network_library() -> None:
    code = (
        "import sys; from registryd.__main__ import main; main(['version']); "
        "print({'grpc', 'aiohttp', 'prometheus_client', 'zeroconf', 'google.protobuf'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1] == "set()"


def test_a_reader_may_stop_reading() -> None:
    command = [sys.executable, "-m", "registryd", "version"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
