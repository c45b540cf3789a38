"""Every string of the page and the report, in English and Russian: `catalogue.json`, the only place."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

Language = Literal["en", "ru"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@cache
def catalogue() -> Mapping[Language, Mapping[str, str]]:
    """Language -> key -> text; `{name}` marks a place to fill."""
    text = files("osteon.service").joinpath("catalogue.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return {language: content[language] for language in LANGUAGES}


def preferred(accept_language: str) -> Language:
    """The first of our languages that a browser accepts; English where it accepts neither.

    >>> preferred("de,ru;q=0.8,en;q=0.5")
    'ru'
    """
    for part in accept_language.lower().split(","):
        for language in LANGUAGES:
            if part.strip().startswith(language):
                return language
    return "en"
