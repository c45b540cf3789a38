"""The rows of a study, as a YAML file says them: what each trains, from what, and for how long."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from osteon.errors import ConfigurationError
from osteon.training.config import BONES_LOOP, BonesSettings, DetectorSettings, LoopSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Row:
    """One model of a study: a training, or a model that there is already.

    Attributes:
        name: of its folder: lower case letters, digits, dots and hyphens.
        label: how the table calls it.
        loop: settings of the optimisation; `epochs` is the schedule's length.
        weights: to start from: none, imagenet, a file, or a name that whoever runs the study maps to a file.
        epochs_sampled: only so many epochs of the schedule are trained, to say where it goes; None: all.
        model: an ONNX file that is measured instead of trained one, or "bundled" for the installed model.
        gpu: trained only where there is CUDA, or where it is asked for by name.
        note: what a reader should know.
    """

    word: ClassVar[str]
    """The field with the settings of data and augmentation, in the file and in checkpoints."""

    name: str
    label: str
    loop: LoopSettings = field(default_factory=LoopSettings)
    weights: str = "none"
    epochs_sampled: int | None = None
    model: str = ""
    gpu: bool = False
    note: str = ""

    @property
    def epochs(self) -> int:
        """How many epochs the row trains."""
        return min(self.epochs_sampled or self.loop.epochs, self.loop.epochs)

    @property
    def settings(self) -> Any:
        """Of data and augmentation; `arch` and `side_px` among them."""
        return getattr(self, self.word)

    def said(self) -> dict[str, Any]:
        """The row as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StudyRow(Row):
    """A fracture detector."""

    word: ClassVar[str] = "detector"
    detector: DetectorSettings = field(default_factory=DetectorSettings)


@dataclass(frozen=True)
class BonesRow(Row):
    """A finder of single bones."""

    word: ClassVar[str] = "bones"
    loop: LoopSettings = BONES_LOOP
    bones: BonesSettings = field(default_factory=BonesSettings)


AnyRow = TypeVar("AnyRow", bound=Row)


def read_rows(file: Path) -> tuple[StudyRow, ...]:
    """The rows of a study of detectors; see `rows_of`."""
    return rows_of(file, StudyRow)


def rows_of(file: Path, kind: type[AnyRow]) -> tuple[AnyRow, ...]:
    """The rows of a YAML file: a list `rows`, and `shared` settings that hold where a row does not say otherwise.

    Raises:
        ConfigurationError: no such file, an unknown word, a value of another kind, or two rows of one name.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file.name} is no YAML file", hint="see docs/rows/detectors.yaml") from error
    content = _mapping(content, file.name, {"rows", "shared"})
    shared = _mapping(content.get("shared", {}), "shared", {"loop", kind.word})
    values = content.get("rows")
    if not isinstance(values, list) or not values:
        raise ConfigurationError(f"{file.name} has no rows", hint="see docs/rows/detectors.yaml")
    rows = tuple(_row(value, shared, kind) for value in values)
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigurationError(f"two rows are called {', '.join(twice)}", hint="give each row its own name")
    return rows


def _row(value: Any, shared: Mapping[str, Any], kind: type[AnyRow]) -> AnyRow:
    words = {each.name for each in fields(kind)}
    row = _mapping(value, "a row", words)
    name = row.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"a row is called {name!r}", hint="name rows by small letters, digits and hyphens")
    plain: dict[str, Any] = {"label": name} | {word: row[word] for word in row.keys() - {"loop", kind.word}}
    for word, wanted in (
        ("label", str),
        ("weights", str),
        ("model", str),
        ("note", str),
        ("epochs_sampled", int),
        ("gpu", bool),
    ):
        if word in plain and type(plain[word]) is not wanted:
            raise ConfigurationError(f"{name}: {word} is {plain[word]!r}", hint=f"give a {wanted.__name__}")
    usual = kind(name, name)
    settings = {
        word: _settings(default, name, shared.get(word, {}), row.get(word, {}))
        for word, default in (("loop", usual.loop), (kind.word, usual.settings))
    }
    return kind(**plain, **settings)


def _settings(defaults: Any, name: str, *given: Any) -> Any:
    """The defaults with what is given, later ones first; whole numbers may stand for others."""
    known = {each.name: type(each.default) for each in fields(defaults)}
    values: dict[str, Any] = {}
    for part in given:
        values |= _mapping(part, name, known.keys())
    for word, value in values.items():
        if known[word] is float and type(value) is int:
            values[word] = float(value)
        elif type(value) is not known[word]:
            hint = f"give a {known[word].__name__}" + (" with a dot, such as 3.0e-4" if known[word] is float else "")
            raise ConfigurationError(f"{name}: {word} is {value!r}", hint=hint)
    return replace(defaults, **values)


def _mapping(value: Any, what: str, known: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{what}: expected words with values, found {value!r}", hint="indent them below it")
    if strange := sorted(str(word) for word in value.keys() - set(known)):
        raise ConfigurationError(f"{what}: unknown {', '.join(strange)}", hint=f"known: {', '.join(sorted(known))}")
    return value


def chosen(rows: Sequence[AnyRow], names: Sequence[str]) -> tuple[AnyRow, ...]:
    """The rows of these names, in the file's order; all where none is named.

    Raises:
        ConfigurationError: no row has one of the names.
    """
    if strange := sorted(set(names) - {row.name for row in rows}):
        known = ", ".join(row.name for row in rows)
        raise ConfigurationError(f"no row is called {', '.join(strange)}", hint=f"there are: {known}")
    return tuple(row for row in rows if not names or row.name in names)
