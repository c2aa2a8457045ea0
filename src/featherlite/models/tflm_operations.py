"""Which operations TensorFlow Lite Micro has, and by which method its resolver registers each.

Source: https://github.com/tensorflow/tflite-micro, micro_mutable_op_resolver.h at 90b983c2 (August 2026).
"""

from __future__ import annotations

from typing import Final

__all__ = ["OPERATIONS", "REMEDY", "registration"]

_WORDS: Final = {"2D": "2D", "V2": "V2", "MATMUL": "MatMul", "CUMSUM": "CumSum", "PADV2": "PadV2", "LSTM": "LSTM"}
"""Parts of names that are not simply capitalized."""

OPERATIONS: Final = frozenset((
    "ABS", "ADD", "ADD_N", "ARG_MAX", "ARG_MIN", "ASSIGN_VARIABLE", "AVERAGE_POOL_2D", "BATCH_MATMUL",
    "BATCH_TO_SPACE_ND", "BROADCAST_ARGS", "BROADCAST_TO", "CALL_ONCE", "CAST", "CEIL", "CONCATENATION", "CONV_2D",
    "COS", "CUMSUM", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "DYNAMIC_UPDATE_SLICE", "ELU",
    "EMBEDDING_LOOKUP", "EQUAL", "EXP", "EXPAND_DIMS", "FILL", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED",
    "GATHER", "GATHER_ND", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "IF", "L2_NORMALIZATION", "L2_POOL_2D",
    "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC",
    "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "PACK",
    "PAD", "PADV2", "PRELU", "QUANTIZE", "READ_VARIABLE", "REDUCE_ALL", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6",
    "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "ROUND", "RSQRT", "SELECT_V2", "SHAPE",
    "SIN", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE",
    "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "SVDF", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNPACK", "VAR_HANDLE", "WHILE", "ZEROS_LIKE",
))  # fmt: skip
"""By their names in the schema; custom operations aside."""

REMEDY: Final = (
    "Put another activation in its place (swap_activation), or build with build.pool=average if it is the pooling; "
    "quantize again then."
)
"""What to do about an operation that it lacks."""


def registration(op: str) -> str | None:
    """The resolver's method for an operation by its name in the schema: `AddConv2D`; None where TFLM has none."""
    if op not in OPERATIONS:
        return None
    return "Add" + "".join(_WORDS.get(word, word.capitalize()) for word in op.split("_"))
