"""Serialization of nested state as JSON and named tensors: lossless, and without executable code."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# A JSON object with one of these as its only key encodes a type that JSON lacks.
_TENSOR, _ARRAY, _SCALAR = "$tensor", "$array", "$scalar"
_FLOAT, _TUPLE, _ITEMS = "$float", "$tuple", "$items"
_TAGS = frozenset((_TENSOR, _ARRAY, _SCALAR, _FLOAT, _TUPLE, _ITEMS))
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_SCALARS = frozenset(
    ("bool", "float16", "float32", "float64", *(f"{u}int{8 << n}" for u in ("", "u") for n in range(4)))
)


class StateTreeError(ValueError):
    """Content that is not a serialized state."""


def flatten_state(state: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Split a nested state into JSON content and tensors.

    Args:
        state: Nested dictionaries, lists and tuples of tensors, arrays, numbers, texts and None.

    Returns:
        The JSON content (lossless: floats in their shortest decimal form that is read back exactly), and the tensors by
        path, contiguous and on the CPU. A tensor that occurs twice, such as tied weights, is stored once.

    Raises:
        TypeError: The state holds a value of another type.
    """
    tensors: dict[str, torch.Tensor] = {}
    seen: dict[tuple[Any, ...], str] = {}

    def tensor_at(path: str, tensor: torch.Tensor) -> str:
        tensor = tensor.detach()
        # Tensors with the same address are the same tensor; empty tensors have no address.
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in seen:
            return seen[place]
        while path in tensors:
            path += "'"
        tensors[path] = tensor.to("cpu").contiguous()
        return seen.setdefault(place, path) if tensor.numel() else path

    def walk(value: Any, path: str) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, torch.Tensor):
            return {_TENSOR: tensor_at(path, value)}
        if isinstance(value, np.ndarray):
            return {_ARRAY: tensor_at(path, _as_tensor(value))}
        if isinstance(value, np.generic):
            return {_SCALAR: [value.dtype.name, walk(value.item(), path)]}
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {_FLOAT: str(float(value))}
        if isinstance(value, tuple):
            return {_TUPLE: [walk(inner, f"{path}/{number}") for number, inner in enumerate(value)]}
        if isinstance(value, list):
            return [walk(inner, f"{path}/{number}") for number, inner in enumerate(value)]
        if isinstance(value, Mapping):
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: walk(inner, f"{path}/{key}") for key, inner in value.items()}
            return {_ITEMS: [[walk(key, path), walk(inner, f"{path}/{key}")] for key, inner in value.items()]}
        raise TypeError(f"A checkpoint cannot hold {path or 'this'}: {type(value).__name__}.")

    return walk(state, ""), tensors


def unflatten_state(content: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Rebuild the state from the result of `flatten_state`.

    Raises:
        StateTreeError: The content is malformed, or a tensor is missing.
    """
    if isinstance(content, list):
        return [unflatten_state(inner, tensors) for inner in content]
    if not isinstance(content, dict):
        return content
    tag = next(iter(content), "")
    if tag not in _TAGS:
        if any(key.startswith("$") for key in content):
            raise StateTreeError(f"{sorted(content)[0]!r} is used as a key.")
        return {key: unflatten_state(inner, tensors) for key, inner in content.items()}
    value = content[tag]
    try:
        if len(content) != 1:
            raise TypeError(f"{len(content)} entries")
        return _untagged(tag, value, tensors)
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        if isinstance(error, StateTreeError):
            raise
        raise StateTreeError(f"{tag!r} holds {str(value)[:80]!r}, which is not valid.") from error


def _as_tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    with warnings.catch_warnings():
        # Arrays from Ray's object store are read-only, which is fine: nothing writes to them.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _untagged(tag: str, value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if tag in (_TENSOR, _ARRAY):
        return tensors[value] if tag == _TENSOR else tensors[value].numpy()
    if tag == _FLOAT:
        return _FLOATS[value]
    if tag == _SCALAR:
        kind, number = value
        if kind not in _SCALARS:
            raise TypeError(kind)
        return np.dtype(kind).type(unflatten_state(number, tensors))
    if not isinstance(value, list):
        raise TypeError(tag)
    if tag == _TUPLE:
        return tuple(unflatten_state(inner, tensors) for inner in value)
    return {unflatten_state(key, tensors): unflatten_state(inner, tensors) for key, inner in value}
