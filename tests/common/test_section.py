"""Settings as text and digest, and keys that were added after studies were finished."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from dit_scaling.common.section import Before, Section


class OldImages(Section):
    path: str
    sizes: tuple[int, ...] = (1, 2)


class OldStudy(Section):
    images: OldImages
    parts: dict[str, OldImages] = Field(default={})
    pair: tuple[OldImages, ...] = ()


class Images(Section):
    path: str
    sizes: tuple[int, ...] = (1, 2)
    background: Annotated[str | None, Before(None)] = "white"
    crop: Annotated[tuple[int, int], Before((0, 0))] = (0, 0)


class Study(Section):
    images: Images
    parts: dict[str, Images] = Field(default={})
    pair: tuple[Images, ...] = ()
    seed: Annotated[int, Before(0)] = 0


def old() -> OldStudy:
    images = OldImages(path="a", sizes=(3,))
    return OldStudy(images=images, parts={"b": images}, pair=(images, images))


def new(background: str | None, crop: tuple[int, int] = (0, 0), seed: int = 0) -> Study:
    images = Images(path="a", sizes=(3,), background=background, crop=crop)
    return Study(images=images, parts={"b": images}, pair=(images, images), seed=seed)


def test_a_new_key_with_the_value_of_before_changes_neither_text_nor_digest() -> None:
    assert new(background=None).canonical() == old().canonical()
    assert new(background=None).digest == old().digest


def test_a_new_default_that_is_not_the_value_of_before_changes_the_digest() -> None:
    assert Images(path="a").background == "white"
    assert new(background="white").digest != old().digest
    assert new(background=None, crop=(1, 0)).digest != old().digest
    assert new(background=None, seed=1).digest != old().digest


@given(background=st.none() | st.text(), crop=st.tuples(st.integers(), st.integers()), seed=st.integers())
def test_settings_come_back_from_their_text(background: str | None, crop: tuple[int, int], seed: int) -> None:
    """Also those left out: not with the default of today, but with what held before."""
    settings = new(background, crop, seed)
    assert Study.parse(settings.canonical()) == settings


def test_text_from_before_the_key_is_read_with_what_held_then() -> None:
    assert Study.parse(old().canonical()) == new(background=None)


def test_text_of_other_settings_is_refused() -> None:
    with pytest.raises(ValidationError, match="unknown"):
        Images.parse('{"path": "a", "unknown": 1}')
    with pytest.raises(ValidationError, match="path"):
        Images.parse('{"background": "white"}')


def test_a_new_key_without_a_default_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.later: a key with Before needs a default"):

        class Wrong(Section):
            later: Annotated[int, Before(0)]
