"""What the layers of tests need built: made before any test's clock starts, and named when it fails."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nephos_dev import binaries, node
from nephos_dev.images import build_debian_12, build_tiny
from nephos_dev.layout import cache_dir
from nephos_dev.progress import Progress, step


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """Something that takes minutes to build once, and nothing when it is cached."""

    name: str
    build: Callable[[Progress], object]


def _programs(toolset: binaries.Toolset) -> Ingredient:
    return Ingredient(
        name=f"programs: {', '.join(toolset.packages)}", build=lambda progress: binaries.ensure(toolset, progress)
    )


_CONTROL_PLANE = _programs(binaries.CONTROL_PLANE)
_TINY = Ingredient(name="guest image tiny", build=lambda progress: build_tiny(cache_dir(), report=progress.note))
_DEBIAN = Ingredient(
    name="guest image debian-12", build=lambda progress: build_debian_12(cache_dir(), report=progress.note)
)
_CONTAINER_IMAGES = (
    Ingredient(name="container image pause", build=node.pause_image),
    Ingredient(name="container image agent", build=node.agent_image),
)

NEEDS: Mapping[str, tuple[Ingredient, ...]] = {
    "api": (_CONTROL_PLANE,),
    "chart": (
        _CONTROL_PLANE,
        *(_programs(toolset) for toolset in (binaries.NODE, binaries.CONTAINERD, binaries.HELM)),
        _TINY,
        *_CONTAINER_IMAGES,
    ),
    "scale": (_CONTROL_PLANE, _TINY),
    "cloud": (_CONTROL_PLANE, _TINY, _DEBIAN),
    "chaos": (_CONTROL_PLANE, _TINY),
}


def needed(layers: Iterable[str]) -> tuple[Ingredient, ...]:
    """Return what these layers need, each once, in the order in which it is needed first."""
    return tuple({need.name: need for layer in layers for need in NEEDS.get(layer, ())}.values())


def make(layers: Iterable[str], progress: Progress) -> None:
    """Build what these layers need and the cache lacks. Raises StepError."""
    for ingredient in needed(layers):
        with step(progress, ingredient.name):
            ingredient.build(progress)
