"""`registryd verify`: are all images of a list at an endpoint, whole and right?"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from registryd.commands.image_lists import (
    LIST,
    PLATFORM,
    REFERRERS,
    EndpointOptions,
    opened_client,
    read_lists,
    read_platforms,
    show,
)
from registryd.commands.progress import showing_progress
from registryd.inventory.asking import stored_only
from registryd.inventory.looking import Looker


async def verify(  # noqa: PLR0913 - the flags of a command
    *,
    images: Annotated[list[str], Parameter(help=LIST, negative=(), allow_leading_hyphen=True)],
    from_: Annotated[str, Parameter(name="--from", help="URL of the endpoint, such as http://cache.example:3172.")],
    platform: Annotated[list[str] | None, Parameter(help=PLATFORM, negative=())] = None,
    referrers: Annotated[bool, Parameter(help=REFERRERS, negative=())] = False,
    quick: Annotated[
        bool, Parameter(help="Check only that content exists, and its size; read no content.", negative=())
    ] = False,
    fetch: Annotated[bool, Parameter(help="Let a cache fetch what it lacks.", negative=())] = False,
    json: Annotated[bool, Parameter(help="Print JSON.", negative=())] = False,
    parallel: Annotated[int, Parameter(help="Requests at a time.", validator=validators.Number(gte=1))] = 4,
    override_path: Annotated[bool, Parameter(help="Do not append /v2 to the URL.", negative=())] = False,
    ca: Annotated[Path | None, Parameter(help="Authorities (PEM) to trust in addition to the system's.")] = None,
    token_file: Annotated[Path | None, Parameter(help="File with the token that a cache asks for.")] = None,
    username: Annotated[str, Parameter(help="User name for the endpoint.")] = "",
    password_file: Annotated[Path | None, Parameter(help="File with the password of the user.")] = None,
) -> int:
    """Check manifests and blobs of each image of a list for the wanted platforms; returns 1 when content is missing."""
    place = EndpointOptions(
        url=from_,
        override_path=override_path,
        ca=ca,
        token_file=token_file,
        username=username,
        password_file=password_file,
    )
    wanted, platforms, endpoint = read_lists(images), read_platforms(platform or []), place.endpoint()
    async with opened_client() as client:
        with showing_progress("verifying", len(wanted), quiet=json) as progress:
            looker = Looker(
                client,
                endpoint if fetch else stored_only(endpoint),
                progress,
                platforms=platforms,
                parallel=parallel,
                hashes=not quick,
                referrers=referrers,
            )
            outcomes = await looker.look_at(wanted)
    return show(outcomes, as_json=json)
