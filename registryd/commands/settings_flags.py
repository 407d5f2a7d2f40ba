"""Gives a command the settings it takes as flags, and calls it with the `Settings` of all sources."""

import asyncio
import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from registryd.config.agent import Settings
from registryd.config.loader import CONFIG_VARIABLE, load
from registryd.config.options import Option, Shape, all_options


def takes_settings(*sections: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command whose first parameter is `settings`; the sections named are its flags (none: all of them).

    A single setting may be named as well, as `section.name`. The command's other parameters become arguments as their
    annotations say. Other settings still come from the environment and the file. A coroutine is run to its end.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = [each for each in all_options().values() if not sections or {each.section, each.key} & {*sections}]

        @wraps(command)
        def with_settings(*args: Any, config: Path | None = None, **given: Any) -> Any:
            flags = {o.key: _texts(given.pop(_parameter_name(o))) for o in options if _parameter_name(o) in given}
            result = command(load(flags=flags, environment=os.environ, file=config), *args, **given)
            return asyncio.run(result) if inspect.iscoroutine(result) else result

        with_settings.__signature__ = _signature(command, options)  # type: ignore[attr-defined]
        return with_settings

    return decorate


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [str(value).lower()]  # a switch is a bool


# What the command line is to look like


def _signature(command: Callable[..., Any], options: list[Option]) -> inspect.Signature:
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    return inspect.Signature([*own, _config_parameter(), *map(_flag_parameter, options)])


def _config_parameter() -> inspect.Parameter:
    about = f"TOML file with settings: [peers] listen = … is --peers.listen. {CONFIG_VARIABLE} can name the file too."
    annotation = Annotated[Path | None, Parameter(name="--config", help=about, metavar="FILE")]
    return inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag_parameter(option: Option) -> inspect.Parameter:
    shown = Parameter(
        name=option.flag,
        help=option.help,
        group=_group(option.section),
        negative=f"--no-{option.key}" if option.is_switch else (),
        metavar=f"NAME={option.notation.metavar}" if option.shape is Shape.PAIRS else option.notation.metavar,
        show_default=(lambda _: option.show(option.default)) if option.default else False,
    )
    kind = bool if option.is_switch else list[str]
    return inspect.Parameter(
        _parameter_name(option),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, shown],
    )


def _parameter_name(option: Option) -> str:
    return option.key.replace(".", "_")


def _group(section: str) -> Group:
    order = list(Settings.__dataclass_fields__)
    kind: Any = Settings.__dataclass_fields__[section].type
    return Group(section, help=inspect.getdoc(kind) or "", sort_key=order.index(section))
