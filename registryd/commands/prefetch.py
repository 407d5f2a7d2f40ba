"""`registryd prefetch`: a cache is given all images of a list."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from registryd.commands.image_lists import LIST, PLATFORM, Place, opened_client, read_lists, read_platforms, show
from registryd.commands.progress import showing_progress
from registryd.inventory.filling import fill


async def prefetch(  # noqa: PLR0913 - the flags of a command
    *,
    images: Annotated[list[str], Parameter(help=LIST, negative=(), allow_leading_hyphen=True)],
    into: Annotated[str, Parameter(help="URL of the cache, such as http://cache.example:3172.")],
    platform: Annotated[list[str] | None, Parameter(help=PLATFORM, negative=())] = None,
    json: Annotated[bool, Parameter(help="Print JSON.", negative=())] = False,
    parallel: Annotated[int, Parameter(help="Requests at a time.", validator=validators.Number(gte=1))] = 4,
    ca: Annotated[Path | None, Parameter(help="Authorities (PEM) to trust besides the system's.")] = None,
    token_file: Annotated[Path | None, Parameter(help="File with the token that the cache asks for.")] = None,
) -> int:
    """Pull every image of a list through a cache, what it has already left out; returns 1 when something is lacking."""
    place = Place(url=into, ca=ca, token_file=token_file)
    wanted, platforms, endpoint = read_lists(images), read_platforms(platform or []), place.endpoint()
    async with opened_client() as client:
        with showing_progress("fetching", len(wanted), quiet=json) as progress:
            outcomes = await fill(wanted, client, endpoint, progress, platforms=platforms, parallel=parallel)
    return show(outcomes, as_json=json)
