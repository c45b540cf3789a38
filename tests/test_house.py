"""What holds for the whole package: import direction, import weight, public names, errors, sizes, documents."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import models
import osteon
from osteon import errors
from osteon.cli import main
from osteon.samples import PHOTOGRAPH
from osteon.web import problems

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "osteon"
MODULES = sorted(PACKAGE.rglob("*.py"))

_BASE = {"errors", "anatomy", "geometry", "limits", "radiograph", "findings", "grey"}
_READING = _BASE | {"preprocess", "files", "dicom"}
SEES = {
    "errors": set[str](),
    "anatomy": set[str](),
    "geometry": {"errors"},
    "limits": {"errors"},
    "radiograph": {"errors"},
    "findings": {"errors", "anatomy", "geometry"},
    "grey": {"errors", "radiograph"},
    "preprocess": _BASE,
    "files": _READING,
    "dicom": _BASE,
    "datasets": _READING,
    "samples": _READING | {"datasets"},
    "models": _READING | {"datasets"},
    "inference": _READING | {"datasets"},
    "evaluation": _READING | {"datasets", "inference"},
    "training": _READING | {"datasets", "inference", "evaluation", "models"},
    "benchmark": _READING | {"inference", "models", "samples"},
    "service": _READING | {"datasets", "inference"},
    "client": {"errors"},
    "load": _READING | {"datasets", "inference", "samples", "client"},
    "web": _READING | {"inference", "samples", "service"},
    "__main__": {"cli"},
    "cli": _READING
    | {
        "datasets",
        "inference",
        "evaluation",
        "models",
        "training",
        "benchmark",
        "samples",
        "service",
        "client",
        "load",
        "web",
    },
}
"""Which part of the package may import which; everything may import its own part. `osteon/__init__` is the face."""

HOMES = {
    "torch": {"models", "training"},
    "torchvision": {"models", "training"},
    "onnx": {"training"},
    "onnxruntime": {"inference/session.py", "training/quantise.py"},
    "pydicom": {"dicom"},
    "imagecodecs": {"dicom"},
    "faster_coco_eval": {"evaluation/coco_table.py"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "sqlalchemy": {"service"},
    "alembic": {"service"},
    "dramatiq": {"service"},
    "fsspec": {"service"},
    "pydantic_settings": {"service"},
    "prometheus_client": {"service"},
    "reportlab": {"service"},
    "httpx": {"client"},
    "uvicorn": {"cli/serve.py"},
    "click": {"cli"},
    "rich": {"cli"},
}
"""Where each vendor is seen."""

PUBLIC = [
    "BoneEvidence",
    "Findings",
    "Fracture",
    "InvalidImage",
    "Limits",
    "OsteonError",
    "Pipeline",
    "Radiograph",
    "find",
    "read",
    "read_pages",
]


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif _imports_by_name(node):
            assert isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant)
            yield str(node.args[0].value)


def _imports_by_name(node: ast.AST) -> bool:
    """importlib.import_module("...") with the name written out."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and isinstance(node.args[0], ast.Constant)
    )


class TestImports:
    def test_every_part_has_its_place_in_the_order(self) -> None:
        assert {_part(path) for path in MODULES} - {"__init__"} == SEES.keys()

    @pytest.mark.parametrize("path", MODULES, ids=_name)
    def test_point_one_way(self, path: Path) -> None:
        if (part := _part(path)) == "__init__":
            return
        seen = {name.split(".")[1] for name in _imports(path) if name.startswith("osteon.")}
        assert seen - {part} <= SEES[part], f"{_name(path)} imports what lies above it"

    def test_order_has_no_cycle(self) -> None:
        def above(part: str, way: tuple[str, ...]) -> None:
            assert part not in way, f"cycle: {' -> '.join((*way, part))}"
            for seen in _really_seen(part):
                above(seen, (*way, part))

        for part in SEES:
            above(part, ())

    @pytest.mark.parametrize("path", MODULES, ids=_name)
    def test_vendors_stay_at_home(self, path: Path) -> None:
        for name in _imports(path):
            homes = HOMES.get(name.split(".")[0], {_part(path)})
            assert homes & {_part(path), _name(path)}, f"{_name(path)} imports {name}"

    def test_nobody_but_the_settings_reads_the_environment(self) -> None:
        reading = re.compile(r"os\.(environ|getenv)|EnvSettingsSource")
        readers = {_name(path) for path in MODULES if reading.search(path.read_text("utf-8"))}
        assert readers == {"service/settings.py"}


def _really_seen(part: str) -> set[str]:
    """Parts that a part imports, the imports for type checking left out."""
    found: set[str] = set()
    for path in MODULES:
        if _part(path) == part:
            found |= {name.split(".")[1] for name in _imports(path) if name.startswith("osteon.")}
    return found - {part}


HEAVY = ("torch", "torchvision", "matplotlib", "onnx", "onnxscript", "scipy", "pycocotools", "faster_coco_eval")


def _loaded(code: str, *words: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    tell = "\nimport sys, json; sys.stderr.write('\\nLOADED ' + json.dumps([m.split('.')[0] for m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tell, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.rsplit("LOADED ", 1)[1]))


class TestImportWeight:
    def test_the_package_alone_loads_nothing(self) -> None:
        assert not _loaded("import osteon") & {"numpy", "cv2", "PIL", "pydicom", "onnxruntime", "click", *HEAVY}

    def test_the_web_application_loads_no_training(self) -> None:
        loaded = _loaded("import osteon.web.app")
        assert "fastapi" in loaded
        assert not loaded & set(HEAVY)

    def test_predict_on_a_picture_loads_neither_torch_nor_pydicom_nor_web(self, tmp_path: Path) -> None:
        files = models.model_files(tmp_path)
        code = "import sys; from osteon.cli import main; main(sys.argv[1:], standalone_mode=False)"
        loaded = _loaded(code, "predict", str(PHOTOGRAPH), "--format", "json", "--gate", str(files.gate))
        assert "onnxruntime" in loaded
        assert not loaded & {"pydicom", "imagecodecs", "fastapi", "sqlalchemy", "uvicorn", "rich", *HEAVY}

    def test_public_names_are_loaded_on_use(self) -> None:
        assert "onnxruntime" not in _loaded("import osteon; osteon.Radiograph, osteon.Limits, osteon.OsteonError")


class TestPublicNames:
    def test_are_these(self) -> None:
        assert osteon.__all__ == PUBLIC
        assert dir(osteon) == PUBLIC

    @pytest.mark.parametrize("name", PUBLIC)
    def test_each_is_there_and_documented(self, name: str) -> None:
        assert inspect.getdoc(getattr(osteon, name))

    def test_nothing_else_is(self) -> None:
        with pytest.raises(AttributeError, match="Detector"):
            osteon.Detector  # noqa: B018


def _children(kind: type[errors.OsteonError]) -> list[type[errors.OsteonError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _children(child))]


ERRORS = _children(errors.OsteonError)


class TestErrors:
    def test_stand_on_one_page(self) -> None:
        for path in MODULES:
            importable = not {"torch", "torchvision", "onnx"} & {name.split(".")[0] for name in _imports(path)}
            if importable and path.name not in {"__init__.py", "bench.py"}:
                importlib.import_module("osteon." + _name(path).removesuffix(".py").replace("/", "."))
        strangers = [kind.__name__ for kind in _children(errors.OsteonError) if kind.__module__ != "osteon.errors"]
        assert strangers == []

    @pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
    def test_each_is_documented_and_mapped(self, kind: type[errors.OsteonError]) -> None:
        assert kind.__doc__ and len(kind.__doc__) > 20
        assert kind.__doc__ != Exception.__doc__
        assert kind.exit_status in (1, 2)
        assert 400 <= kind.http_status < 600
        assert problems.title_of(kind.__name__)

    def test_every_error_raised_has_a_hint(self) -> None:
        names = {kind.__name__ for kind in ERRORS}
        for path in MODULES:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                    given = [keyword.arg for keyword in node.keywords]
                    assert "hint" in given or None in given, f"{_name(path)}:{node.lineno} {node.func.id} without hint"

    def test_no_bare_exception_is_raised(self) -> None:
        for path in MODULES:
            assert not re.search(r"raise (Exception|BaseException)\b", path.read_text("utf-8")), _name(path)


class TestSizes:
    @pytest.mark.parametrize("path", MODULES, ids=_name)
    def test_modules_and_functions_are_small(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 500
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"

    @pytest.mark.parametrize("path", MODULES, ids=_name)
    def test_names_say_something(self, path: Path) -> None:
        assert not {"utils", "util", "helpers", "common", "manager", "misc"} & {*path.with_suffix("").parts[-2:]}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                assert not re.match(r"get_(?!command$|next$)|process_data", node.name), node.name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                pytest.fail(f"{_name(path)}:{node.lineno} prints")


# Documents

DOCUMENTS = [path for path in (ROOT / "README.md", ROOT / "README.ru.md", ROOT / "CONTRIBUTING.md") if path.is_file()]
DOCUMENTS += sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "cli.md")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def _code(path: Path) -> str:
    """The code blocks and code spans of a document, with lines that end in a backslash joined."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*blocks, *spans]).replace("\\\n", " ")


def _command_lines(path: Path) -> Iterator[list[str]]:
    for line in _code(path).splitlines():
        for words in re.findall(r"(?:^|[\s(/])osteon ([a-z][^#|>&;]*)", line):
            yield words.replace("\\|", "|").split()


def _resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the words left."""
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] in {"...", "COMMAND", "X"}:
            break
        child = command.get_command(context, words[0].rstrip(".,:"))
        assert child is not None, f"osteon has no command {words[0]}"
        command, words = child, words[1:]
    return command, words


class TestDocuments:
    def test_readmes_begin_with_the_two_commands(self) -> None:
        for name in ("README.md", "README.ru.md"):
            found = re.findall(r"make [a-z-]+", (ROOT / name).read_text("utf-8"))
            assert found[:2] == ["make demo", "make test"], name

    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
    def test_make_targets_exist(self, path: Path) -> None:
        assert set(re.findall(r"\bmake ([a-z-]+)", _code(path))) <= TARGETS

    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
    def test_commands_and_their_options_exist(self, path: Path) -> None:
        for words in _command_lines(path):
            command, left = _resolved(words)
            known = {flag for parameter in command.params for flag in parameter.opts} | {"--help", "-h"}
            given = {word.split("=")[0].rstrip(".,:)`") for word in left if re.match(r"--?[a-z]", word)}
            assert given <= known, f"{path.name}: osteon {' '.join(words)}"

    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
    def test_links_lead_somewhere(self, path: Path) -> None:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not re.match(r"[a-z]+:", target):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"

    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
    def test_nothing_is_left_to_fill_in(self, path: Path) -> None:
        assert not re.search(r"\b(TODO|TBD|FIXME|XXX)\b|\?\?\?", path.read_text(encoding="utf-8"))

    def test_a_python_example_of_the_readme_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
        assert blocks
        (tmp_path / "wrist.jpg").write_bytes(PHOTOGRAPH.read_bytes())
        monkeypatch.chdir(tmp_path)
        made = models.pipeline(tmp_path)
        monkeypatch.setattr(osteon.Pipeline, "bundled", lambda: made)
        for block in blocks:
            exec(compile(block, "README.md", "exec"), {})

    def test_the_house_is_complete(self) -> None:
        for name in ("LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", ".ci/run", "Makefile"):
            assert (ROOT / name).is_file(), name
        assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
        assert "make check" in (ROOT / ".ci" / "run").read_text("utf-8")

    def test_every_dependency_is_pinned_and_its_licence_named(self) -> None:
        pins = {
            re.split("==", line)[0].lower().replace("_", "-")
            for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
            if "==" in line
        }
        wanted = set(
            re.findall(r'^ +"([A-Za-z0-9_-]+)[>=]', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
        )
        wanted |= {"torch", "torchvision", "pydicom-data"}
        assert {name.lower() for name in wanted} <= pins
        licences = (ROOT / "docs" / "licences.md").read_text("utf-8").lower()
        assert {name for name in wanted if name.lower() not in licences} == set()
