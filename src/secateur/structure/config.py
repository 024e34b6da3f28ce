"""A Hugging Face configuration kept true: what the stock class would have to be told to build this network.

A number of the configuration is changed only where everything that the stock class derives from it then has
the size the network has; tried out by building the class on the meta device, never guessed from a name.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.edits import Change
from .built_anew import without_values
from .by_layer import beside
from .depth import COUNT, Depth
from .graph.replay import as_json

TRIALS = 100
"""How many configurations are built at most."""

UNSAID = re.compile(r"inner|size|width|dim")
"""Names of sizes that may be left out of a configuration, to be derived from others (GPT-2's `n_inner`)."""

Signature = Mapping[tuple[str, ...], Any]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Setting:
    """A value of a configuration before and after; `path` leads to it through nested ones."""

    path: Path
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class Fit:
    """How far a configuration describes a network.

    Attributes:
        settings: what has to be changed in it.
        stale: attributes of modules that still say an old size, which the stock class would not.
        why: what the stock architecture would still build otherwise; empty where nothing.
    """

    settings: tuple[Setting, ...] = ()
    why: str = ""
    stale: tuple[Change, ...] = ()


def has_config(model: nn.Module) -> bool:
    """Whether a configuration can be written to plain data and build the class anew."""
    config = getattr(model, "config", None)
    return hasattr(config, "to_dict") and hasattr(type(config), "from_dict")


def fit_config(
    before: nn.Module,
    after: nn.Module,
    sizes: Iterable[tuple[Any, Any]] = (),
    lost: Sequence[Depth] = (),
) -> Fit:
    """The settings under which the stock class builds `after`, as far as there are any.

    Args:
        before: the network as its configuration describes it.
        after: the smaller network, with the same configuration.
        sizes: (old, new) of every size that changed, and of other numbers of modules.
        lost: layers that are gone.
    """
    if not has_config(before):
        return Fit(why=f"{type(before).__name__} has no configuration to build it from")
    search = _Search(before, after, set(sizes), lost)
    if search.failed:
        return Fit(why=search.failed)
    settings = search.run(list(_candidates(search.config, search.sizes, lost, search.wanted)))
    return Fit(tuple(settings), search.why(), tuple(search.stale()))


def settings_as_changes(config: Any, settings: Iterable[Setting]) -> list[Change]:
    """Settings as changes of the attributes of configurations; an entry of a list changes the list."""
    values: dict[tuple[str, ...], tuple[Any, Any]] = {}
    for setting in settings:
        way, owner = _to_attribute(config, setting.path)
        old = getattr(owner, way[-1])
        _, new = values.get(way, (old, old))
        values[way] = (old, _changed(new, setting.path[len(way) :], setting.new))
    return [
        Change(module="", attribute=".".join(("config", *way)), old=as_json(old), new=as_json(new))
        for way, (old, new) in values.items()
    ]


def _to_attribute(config: Any, path: Path) -> tuple[tuple[str, ...], Any]:
    """The part of a path that goes through configurations, and the last of these."""
    way = [str(path[0])]
    while hasattr(getattr(config, way[-1]), "to_dict"):
        config = getattr(config, way[-1])
        way.append(str(path[len(way)]))
    return tuple(way), config


@dataclass
class _Search:
    """Tries settings; keeps those that make the stock class build the network wanted."""

    before: nn.Module
    after: nn.Module
    sizes: set[tuple[Any, Any]]
    lost: Sequence[Depth] = ()
    config: dict[str, Any] = field(default_factory=dict)
    trials: int = 0
    failed: str = ""

    def __post_init__(self) -> None:
        self.wanted = signature(self.after)
        self.stock = cast(Any, self.before.config)
        self.config = copy.deepcopy(self.stock.to_dict())
        self.now = self._build(self.config)
        own = signature(self.before)
        # what a class sets after it is built says nothing
        self.silent = {
            key[-1] for key in {*own, *(self.now or {})}
            if key[0] == "attribute" and type(own.get(key)) is not float
            and (self.now or {}).get(key, self) != own.get(key, self)
        }  # fmt: skip

    def run(self, candidates: list[list[Setting]]) -> list[Setting]:
        """Single candidates while they help, then two and three at a time."""
        taken: list[Setting] = []
        for together in (1, 2, 3):
            found = True
            while found and self._differing(self.now):
                found = self._try(candidates, together, taken)
        return taken

    def _try(self, candidates: list[list[Setting]], together: int, taken: list[Setting]) -> bool:
        for chosen in combinations(candidates, together):
            settings = [setting for group in chosen for setting in group]
            if self.trials > TRIALS or _overlap([setting.path for setting in settings]):
                continue
            config = self.config
            for setting in settings:
                config = _changed(config, setting.path, setting.new)
            made = self._build(config)
            if made is not None and self._helps(made):
                self.config, self.now = config, made
                taken += settings
                candidates[:] = [c for c in candidates if c not in chosen]
                return True
        return False

    def _build(self, config: dict[str, Any]) -> Signature | None:
        self.trials += 1
        kind: Any = type(self.before)
        try:
            with torch.device("meta"), without_values():
                made = kind(type(self.stock).from_dict(copy.deepcopy(config)))
        except Exception as error:  # noqa: BLE001 (a foreign class may raise anything; it is told as `why`)
            said = " ".join(str(error).split())[:200]
            self.failed = self.failed or f"{type(error).__name__}: {said}"
            return None
        self.failed = ""
        return signature(made)

    def _helps(self, made: Signature) -> bool:
        """A tensor or an attribute that is no integer changed, and all that did is now as wanted."""
        assert self.now is not None
        moved = [k for k in {*made, *self.now} if made.get(k, self) != self.now.get(k, self)]
        heard = [k for k in moved if self._tells(k, made)]
        told = any(k[0] == "tensor" or type(made.get(k)) is float for k in heard)
        return told and all(
            self._follows(k, made) or _agrees(self.now.get(k), made.get(k), self.wanted.get(k))
            for k in heard
        )

    def _follows(self, key: tuple[str, ...], made: Signature) -> bool:
        """Whether an attribute of the network may still say an old size."""
        old, new = self.wanted.get(key), made.get(key)
        shares = (
            "group" in key[-1] and type(old) is type(new) is int
        )  # query heads for each key head
        numbers = type(old) is type(new) and isinstance(old, int | float)
        return key[0] == "attribute" and (shares or (numbers and (old, new) in self.sizes))

    def stale(self) -> Iterator[Change]:
        """Attributes that still say an old size."""
        for key, new in (self.now or {}).items():
            if self.wanted.get(key) != new and self._follows(key, self.now or {}):
                yield Change(module=key[1], attribute=key[2], old=self.wanted[key], new=new)

    def _differing(self, made: Signature | None) -> list[tuple[str, ...]]:
        made = made or {}
        every = dict.fromkeys([*self.wanted, *made])
        return [
            k for k in every
            if self.wanted.get(k, self) != made.get(k, self)
            and self._tells(k, made)
            and not self._follows(k, made)
        ]  # fmt: skip

    def _tells(self, key: tuple[str, ...], made: Signature) -> bool:
        """Whether a difference counts: not of attributes that the stock class has no more or sets late."""
        return key[0] == "tensor" or (key in made and key[-1] not in self.silent)

    def why(self) -> str:
        """The first thing the stock class builds otherwise."""
        for key in self._differing(self.now):
            has, stock = self.wanted.get(key), (self.now or {}).get(key)
            has, stock = (list(v) if isinstance(v, tuple) else v for v in (has, stock))
            return (
                f"{self._uncounted(key[1])}{'.'.join(key[1:])} is {has}; the stock architecture "
                f"would build {stock}"
            )
        return ""

    def _uncounted(self, name: str) -> str:
        """That nothing in the configuration gives a container the layers that it has left."""
        for depth in self.lost:
            if name.startswith(f"{depth.container}.") and self._layers(depth) == depth.layers:
                return (
                    f"no setting of the configuration was found that builds {len(depth.stay)} "
                    f"instead of {depth.layers} layers in '{depth.container}': "
                )
        return ""

    def _layers(self, depth: Depth) -> int:
        """How many layers of a container the stock class builds now."""
        names = (
            key[1].removeprefix(f"{depth.container}.")
            for key in self.now or {}
            if key[1].startswith(f"{depth.container}.")
        )
        return len({name.partition(".")[0] for name in names})


def _overlap(paths: list[Path]) -> bool:
    """Whether a value would be set twice, by itself or inside another."""
    return any(a == b[: len(a)] for i, a in enumerate(paths) for j, b in enumerate(paths) if i != j)


def _agrees(old: Any, new: Any, wanted: Any) -> bool:
    """Whether what changed from old to new is as wanted; sizes that did not change may still be wrong."""
    shapes = [v for v in (old, new, wanted) if isinstance(v, tuple)]
    if len(shapes) == 3 and len({len(s) for s in shapes}) == 1:
        return all(n == w for o, n, w in zip(old, new, wanted, strict=True) if o != n)
    if isinstance(old, tuple) and isinstance(new, tuple):
        return bool(new == wanted)
    return isinstance(new, tuple) == isinstance(wanted, tuple) if old is None else new == wanted


def signature(model: nn.Module) -> Signature:
    """Shapes of all tensors, plain attributes of all modules, and the eps of norms (no other fraction)."""
    out: dict[tuple[str, ...], Any] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            out["tensor", name] = tuple(tensor.shape)
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            told = _is_plain(value) or (isinstance(value, float) and "eps" in name)
            if not name.startswith("_") and name != "training" and told:
                out["attribute", path, name] = value
    return out


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, bool | int | str)


def _changed(value: Any, path: Path, new: Any) -> Any:
    """A configuration, or a list in it, with what stands at the end of a path exchanged."""
    if not path:
        return new
    step, *rest = path
    if isinstance(value, dict):
        return {**value, step: _changed(value[step], tuple(rest), new)}
    return type(value)(
        _changed(v, tuple(rest), new) if i == step else v for i, v in enumerate(value)
    )


def _candidates(
    config: dict[str, Any], sizes: set[tuple[Any, Any]], lost: Sequence[Depth], wanted: Signature
) -> Iterator[list[Setting]]:
    """Settings worth a trial: numbers that are an old size, and depths with all that goes by layer."""
    held = {(key[-1], v) for key, v in wanted.items() if key[0] == "attribute" and type(v) is int}
    for depth in lost:
        for path, value in _walk(config):
            if type(value) is int and value == depth.layers:
                also = _beside(config, path[:-1], depth)
                yield [Setting(path, value, len(depth.stay)), *also]
    yield from ([setting] for setting in _other_counts(config, lost))
    for path, value in _walk(config):
        if type(value) in (int, float):
            yield from (
                [Setting(path, value, new)]
                for old, new in sorted(sizes)
                if (type(old), old) == (type(value), value)
            )
        if type(value) is int:
            yield from ([Setting(path, value, new)] for new in _shares(path, value, sizes))
        if value is None:
            yield from ([Setting(path, None, v)] for name, v in sorted(held) if name == path[-1])
        if value is None and UNSAID.search(str(path[-1])):
            yield from (
                [Setting(path, None, new)]
                for new in sorted({n for _, n in sizes if type(n) is int})
            )


def _other_counts(config: dict[str, Any], lost: Sequence[Depth]) -> Iterator[Setting]:
    """Depths that count otherwise: layers of several containers, some left out, pairs of them as one."""
    gone = [depth.layers - len(depth.stay) for depth in lost]
    fewer = {n // pair for n in (*gone, sum(gone)) for pair in (1, 2, 3) if n and not n % pair}
    exact = {depth.layers for depth in lost}
    for path, value in _walk(config):
        if type(value) is int and value not in exact and COUNT.search(".".join(map(str, path))):
            yield from (Setting(path, value, value - n) for n in sorted(fewer) if value > n)


def _shares(path: Path, value: int, sizes: set[tuple[Any, Any]]) -> list[int]:
    """Numbers of heads or groups of which a width that changed is a multiple, before and after."""
    if not re.search("head|group", str(path[-1])) or value < 1:
        return []
    of = {
        value * new // old
        for old, new in sizes
        if type(old) is int and not old % value and not value * new % old
    }
    return sorted(n for n in of if (value, n) not in sizes and n not in (0, value))


def _walk(config: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every single value with the way to it; numbers of tokens are no sizes."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            yield from _walk(value, (*path, key))
        elif not str(key).endswith("_id"):
            yield (*path, key), value


def _beside(config: Any, path: Path, depth: Depth) -> list[Setting]:
    """What goes by layer beside a depth."""
    for step in path:
        config = config[step]
    if not isinstance(config, dict):
        return []
    return [Setting((*path, key), config[key], new) for key, new in beside(config, depth)]
