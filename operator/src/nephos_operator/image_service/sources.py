"""What an Image's ``spec.source.url`` means, and what a redirect may lead to. Pure, but for the look at a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from yarl import URL

from nephos_api.errors import PermanentFault
from nephos_api.metadata import CATALOG_NAMESPACE

WEB_SCHEMES: Final = frozenset({"http", "https"})


def parse_source(url: str, namespace: str | None) -> URL | Path:
    """Return what is to be fetched: a web address, or a path that is still to be confined.

    Raises ``PermanentFault`` where the URL is none that images may come from.
    """
    try:
        parsed = URL(url)
    except ValueError as error:
        raise PermanentFault(f"spec.source.url is no URL: {error}", reason="InvalidURL") from error
    if parsed.scheme in WEB_SCHEMES and parsed.host:
        return parsed
    if parsed.scheme != "file":
        raise PermanentFault("spec.source.url must start with http:// or https://", reason="InvalidURL")
    if namespace != CATALOG_NAMESPACE:
        raise PermanentFault(f"file:// is for images of {CATALOG_NAMESPACE} only", reason="ForbiddenSource")
    return Path(parsed.path)


def check_redirect(origin: URL, target: URL) -> None:
    """Raise ``PermanentFault`` where a redirect leads out of the web, or from https to http."""
    if target.scheme not in WEB_SCHEMES or not target.host:
        raise PermanentFault(f"the source redirects to {target.scheme}://, which is refused", reason="ForbiddenSource")
    if origin.scheme == "https" and target.scheme == "http":
        raise PermanentFault("the source redirects from https to http, which is refused", reason="ForbiddenSource")


def confine(path: Path, root: Path | None) -> Path:
    """Return the file that the path leads to, symbolic links followed.

    Raises ``PermanentFault`` where that is not a file in ``root``.
    """
    if root is None:
        raise PermanentFault("this cloud is set up without file:// sources", reason="ForbiddenSource")
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise PermanentFault("spec.source.url leads out of the folder for file:// sources", reason="ForbiddenSource")
    if not resolved.is_file():
        raise PermanentFault(f"there is no file {path} for spec.source.url", reason="SourceGone")
    return resolved
