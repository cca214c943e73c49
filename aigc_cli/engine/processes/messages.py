"""Messages between processes: JSON, with arrays and tensors in it. Nothing is pickled."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import torch

#: The key of an object that stands for something that JSON lacks.
_ARRAY, _TENSOR, _BFLOAT16, _BYTES = "\0array", "\0tensor", "\0bfloat16", "\0bytes"


def packed(value: Any) -> bytes:
    return json.dumps(value, default=_as_json).encode()


def unpacked(message: bytes) -> Any:
    """What was packed; tensors are on the CPU, and tuples are lists."""
    return json.loads(message, object_hook=_from_json)


def _as_json(value: object) -> object:
    if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:  # which NumPy lacks
        return {_BFLOAT16: _as_json(value.detach().view(torch.int16))}
    if isinstance(value, torch.Tensor):
        return {_TENSOR: _as_json(value.detach().cpu().numpy())}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_ARRAY: [value.dtype.str, value.shape, base64.b64encode(np.ascontiguousarray(value).data).decode()]}
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    raise TypeError(f"a {type(value).__name__} can't be sent to another process")


def _from_json(found: dict[str, Any]) -> Any:
    if _ARRAY in found:
        dtype, shape, content = found[_ARRAY]
        return np.frombuffer(bytearray(base64.b64decode(content)), dtype).reshape(shape)
    if _TENSOR in found:
        return torch.from_numpy(found[_TENSOR])
    if _BFLOAT16 in found:
        return found[_BFLOAT16].view(torch.bfloat16)
    if _BYTES in found:
        return base64.b64decode(found[_BYTES])
    return found
