"""A model without weights, into which blocks are loaded and from which they are let go."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...artifact.architecture import hugging_face, without_code
from ...artifact.huggingface import quiet
from ...artifact.source import digest_of_parts, tensor_digest
from ...core.device import place_buffers
from ...core.errors import PlanError, StorageError
from ...core.extras import need
from ...core.origin import Architecture
from ...structure.free_order import Moves, move
from .blocks import find_blocks
from .shards import Shards


class Skeleton:
    """A Hugging Face model on the meta device and the files its weights lie in.

    Names in files and names in the model may differ (experts that are stored one by one and held as
    one tensor, prefixes): transformers' own conversions lead from one to the other and back.

    Args:
        shards: the folder's weights; `config.json` lies beside them.
        device: where what is read goes.
    """

    def __init__(self, shards: Shards, device: torch.device | str = "cpu") -> None:
        self.shards, self.device = shards, torch.device(device)
        self.model = build(shards)
        place_buffers(self.model, self.device)
        self.model.eval()
        self.parameters = sum(p.numel() for p in self.model.parameters())
        """How many the files hold, tied ones once."""
        self.added: frozenset[str] = frozenset()
        """Parameters that the files do not hold: they are zero."""
        self.moves: Moves = {}
        """What is put in another order when it is read from the source."""
        self.digests: dict[str, str] = {}
        """Tensor of the model -> digest of what the files hold, of those that were read so far."""
        self._hooks = [
            module.register_forward_pre_hook(self._on_call)
            for module in self.model.modules()
            if any(p.is_meta for p in module.parameters(recurse=False))
        ]

    @property
    def width(self) -> int:
        """Features of what flows between blocks."""
        config = self.model.config
        text = getattr(config, "text_config", None) or config
        return int(getattr(text, "hidden_size", None) or 4096)

    @cached_property
    def architecture(self) -> Architecture | None:
        """The class and the configuration as the folder has it: the cache is not turned off there."""
        found = hugging_face(self.model)
        config = read_config(self.shards.folder).to_json_string(use_diff=False)
        plain = without_code(json.loads(config))
        return found and found.model_copy(update={"config": plain})

    @cached_property
    def owners(self) -> dict[str, str]:
        """Name in the files -> name of the (first) parameter of the model it becomes."""
        return self._named[0]

    @cached_property
    def joined(self) -> frozenset[str]:
        """Names in the files of what the model holds in another form, several of them as one tensor."""
        return self._named[1]

    @cached_property
    def _named(self) -> tuple[dict[str, str], frozenset[str]]:
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            rename_source_key,
        )

        mapping = self._mapping()
        renamings = [m for m in mapping if isinstance(m, WeightRenaming)]
        converters = [m for m in mapping if isinstance(m, WeightConverter)]
        state = self._state
        out, joined = {}, set()
        for key in self.shards.entries:
            prefix = self.model.base_model_prefix
            name, converted = rename_source_key(key, renamings, converters, prefix, state)
            out[key] = key if name not in state and key in state else name
            if converted is not None:
                joined.add(key)
        return out, frozenset(joined)

    @cached_property
    def _state(self) -> dict[str, Tensor]:
        """Names, shapes and dtypes of the model's state."""
        return dict(self.model.state_dict())

    @cached_property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Parameter -> all names of it; tied ones have several."""
        groups: dict[int, list[str]] = {}
        for name, p in self.model.named_parameters(remove_duplicate=False):
            groups.setdefault(id(p), []).append(name)
        return {name: tuple(names) for names in groups.values() for name in names}

    def _mapping(self) -> list[Any]:
        from transformers.conversion_mapping import get_model_conversion_mapping

        return get_model_conversion_mapping(self.model)

    def keys(self, prefix: str) -> list[str]:
        """Names in the files of everything below a module's path."""
        return [key for key, owner in self.owners.items() if owner.startswith(prefix + ".")]

    def load(self, prefix: str, shards: Shards | None = None) -> None:
        """Read the parameters of one module, from the source or from another copy of the files."""
        source = shards if shards is not None else self.shards
        self._put({key: source.read(key) for key in self.keys(prefix)})
        if shards is None:
            held = self.model.get_submodule(prefix).state_dict()
            self._note({f"{prefix}.{name}": t for name, t in held.items() if not t.is_meta})
            move(self.model, {n: m for n, m in self.moves.items() if n.startswith(prefix + ".")})
        for name, p in list(self.model.get_submodule(prefix).named_parameters()):
            if p.is_meta and f"{prefix}.{name}" in self.added:
                self._set(f"{prefix}.{name}", nn.Parameter(torch.zeros_like(p, device=self.device)))
            elif p.is_meta:
                self._refuse_shared(f"{prefix}.{name}", prefix)
                raise StorageError(
                    f"'{self.shards.folder}' holds no weights for '{prefix}.{name}'; "
                    "the files do not fit the configuration"
                )

    def _refuse_shared(self, name: str, prefix: str) -> None:
        """Say so where the files hold a block's tensor as that of another block."""
        twins = [n for n in self.aliases[name] if not n.startswith(f"{prefix}.")]
        if twins:
            raise PlanError(
                f"'{name}' is the same tensor as '{twins[0]}': blocks that share weights cannot be read "
                "and written one by one. Load the model and use secateur.prune"
            )

    def fetch(self, name: str) -> Tensor:
        """One tensor of the model outside the blocks; it stays until `let_go`."""
        if self._state[name].is_meta:
            if self.model.get_parameter(name).is_meta:
                self._load_one(name)
        elif keys := [key for key, owner in self.owners.items() if owner == name]:
            self._put({key: self.shards.read(key) for key in keys})  # a buffer
        value: Tensor = self.model.state_dict()[name]
        self._note({name: value})
        return value

    def let_go(self, name: str) -> None:
        """Back to the meta device with one parameter outside the blocks."""
        if self._state[name].is_meta:
            held = self.model.get_parameter(name)
            self._set(name, nn.Parameter(held.to("meta"), held.requires_grad))

    def source(self) -> str:
        """The digest of all weights as the files hold them; what was not read so far is read now."""
        for name in self._state:
            if name not in self.digests and name not in self.added:
                self.fetch(name)
                self.let_go(name)
        return digest_of_parts(self.digests)

    def _note(self, tensors: Mapping[str, Tensor]) -> None:
        """Digests of tensors as the files hold them, once."""
        for name, tensor in tensors.items():
            if name not in self.digests and name in self._state and name not in self.added:
                for alias in self.aliases.get(name, (name,)):
                    self.digests[alias] = self.digests.get(alias) or tensor_digest(tensor)

    def _set(self, name: str, value: nn.Parameter) -> None:
        path, _, leaf = name.rpartition(".")
        setattr(self.model.get_submodule(path), leaf, value)

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        where = {"": str(self.device)}
        config = LoadStateDictConfig(
            weight_mapping=self._mapping(), dtype=self.model.dtype, device_map=where
        )
        with quiet():
            info, _ = convert_and_load_state_dict_in_model(self.model, dict(tensors), config)
        if info.mismatched_keys:
            name, got, wanted = sorted(info.mismatched_keys)[0]
            raise StorageError(
                f"'{name}' is {tuple(got)} in '{self.shards.folder}' and {tuple(wanted)} by its "
                "config.json; the two do not belong together"
            )
        if info.conversion_errors or info.error_msgs:
            raise StorageError(
                f"weights cannot be read: {info.conversion_errors or info.error_msgs}"
            )

    def stored(self, prefix: str) -> dict[str, Tensor]:
        """The parameters of one module under their names in the files, in the form of the files."""
        from transformers.core_model_loading import revert_weight_conversion

        inside = self.model.get_submodule(prefix).state_dict()
        own = {f"{prefix}.{name}": value.detach() for name, value in inside.items()}
        return {self._filed(n): v for n, v in revert_weight_conversion(self.model, own).items()}

    def _filed(self, name: str) -> str:
        """The name in the files, with or without the prefix of the base model."""
        prefix = self.model.base_model_prefix + "."
        for candidate in (name, name.removeprefix(prefix), prefix + name):
            if candidate in self.shards.entries:
                return candidate
        raise StorageError(f"'{name}' has no place in the files of '{self.shards.folder}'")

    def release(self, prefix: str) -> None:
        """Let go of the parameters of one module."""
        for module in self.model.get_submodule(prefix).modules():
            for name, p in module.named_parameters(recurse=False):
                module._parameters[name] = nn.Parameter(p.to("meta"), p.requires_grad)

    def _on_call(self, module: nn.Module, args: object) -> None:
        """Load a module outside the blocks when it is first called; the head never is."""
        path = self._paths[id(module)]
        names = [f"{path}.{n}".lstrip(".") for n, p in module._parameters.items() if p is not None]
        for name in names:
            if self.model.get_parameter(name).is_meta:
                self._load_one(name)

    @cached_property
    def _paths(self) -> dict[int, str]:
        return {id(module): path for path, module in self.model.named_modules()}

    def _load_one(self, name: str) -> None:
        aliases = self.aliases[name]
        keys = [key for key, owner in self.owners.items() if owner in aliases]
        if not keys:
            raise StorageError(f"'{self.shards.folder}' holds no weights for '{name}'")
        self._put({key: self.shards.read(key) for key in keys[:1]})
        self._set(name, self.model.get_parameter(self.owners[keys[0]]))
        if self.moves:
            self._note({name: self.model.get_parameter(name)})
            for alias in set(aliases) & set(self.moves):  # a tied tensor is named once
                move(self.model, {name: self.moves[alias]})

    def outside(self, moves: Moves) -> list[str]:
        """Parameters that are moved and lie in no block, tied ones once, by the name they are read by."""
        blocks = tuple(f"{block.name}." for block in find_blocks(self.model))
        read = set(self.owners.values())
        names = (name for name in moves if not name.startswith(blocks))
        every = (next(n for n in self.aliases[name] if n in read) for name in names)
        return list(dict.fromkeys(every))

    def filed(self, name: str) -> dict[str, Tensor]:
        """One parameter outside the blocks, read anew, under each of its names in the files."""
        self.let_go(name)
        value = self.fetch(name).detach()
        keys = [key for key, owner in self.owners.items() if owner in self.aliases[name]]
        return dict.fromkeys(keys, value)


def build(shards: Shards) -> Any:
    """The model of a folder's config.json with every parameter on the meta device."""
    transformers = need("transformers", f"the network in '{shards.folder}'")
    accelerate = need("accelerate", f"the network in '{shards.folder}'")
    config = read_config(shards.folder)
    make = _constructor(transformers, config, shards.folder)
    _settle(config)
    with accelerate.init_empty_weights(include_buffers=False):
        model = make(config, dtype=_dtype(shards), experts_implementation="eager")
    model.tie_weights()
    return model


def _constructor(library: Any, config: Any, folder: Path) -> Callable[..., Any]:
    """What makes a model of the configuration's own class, or of a language model without one."""
    if not config.architectures:
        return library.AutoModelForCausalLM.from_config
    cls = getattr(library, config.architectures[0], None)
    if cls is None:
        raise PlanError(
            f"'{folder}' is a {config.architectures[0]}, which this transformers does not know; "
            "models that bring code of their own are not run"
        )
    return cls._from_config


def _settle(config: Any) -> None:
    """No cache while blocks run one by one."""
    for part in (config, getattr(config, "text_config", None)):
        if part is not None and hasattr(part, "use_cache"):
            part.use_cache = False


def read_config(folder: Path) -> Any:
    """The folder's configuration; without a sound config.json an error."""
    transformers = need("transformers", f"the network in '{folder}'")
    path = folder / "config.json"
    try:
        json.loads(path.read_text(encoding="utf-8"))
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except OSError:
        raise StorageError(f"'{folder}' holds no config.json; name a model's folder") from None
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"'{path}' describes no model known here: {reason}") from None
    config._name_or_path = ""  # where a copy of the folder lies changes nothing of its network
    return config


def _dtype(shards: Shards) -> torch.dtype:
    """The dtype that most weights are stored in."""
    sizes: dict[torch.dtype, int] = {}
    for entry in shards.entries.values():
        if entry.dtype.is_floating_point:
            sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.stop - entry.start
    return max(sizes, key=lambda dtype: sizes[dtype])
