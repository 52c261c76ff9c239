"""What tests need is built once, before them."""

from nephos_dev.ingredients import NEEDS, needed
from nephos_dev.layers import LAYERS


def test_every_layer_that_needs_something_is_one() -> None:
    assert NEEDS.keys() <= set(LAYERS)


def test_what_several_layers_need_is_built_once() -> None:
    names = [ingredient.name for ingredient in needed(LAYERS)]
    assert len(names) == len(set(names))
    assert "guest image tiny" in names


def test_pure_layers_need_nothing() -> None:
    assert needed(["lint", "unit", "contract"]) == ()
