"""The int8 artefact as Edge Impulse has to be given it: the same integers inside, another scale written on its input.

featherlite's int8 input is `pixel - 128` with scale 1/128. Edge Impulse scales an image by one of its own rules, then
divides by the scale of the input, and no rule makes exactly these integers of that: "-1..1" is (pixel / 127.5) - 1, and
the code that its C++ library runs for int8 images does not know this rule at all. With a scale of 1 "-128..127" makes
them, everywhere. The kernels that read the input get 1/128 of their scales in return: a power of two, so that the
products of scales, which are all that a runtime computes with, stay what they were to the last bit.

Source: https://github.com/edgeimpulse/inferencing-sdk-cpp at 919819f5 (June 2026), classifier/ei_run_dsp.h
(extract_image_features_quantized) and classifier/ei_run_classifier.h (ei_scale_fmatrix).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from featherlite.errors import ExportError

__all__ = ["INPUT_SCALING", "upload_artefact"]

INPUT_SCALING: Final = "-128..127"
"""The rule's name in Edge Impulse's forms and interface."""

FACTOR: Final = 128

_KERNEL_OPS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_PASSING_OPS: Final = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "RESHAPE")
"""What hands its input's scale on to its output."""


def upload_artefact(data: bytes, *, softmax: bool = True) -> bytes:
    """The .tflite `data` with an input of scale 1 and, where asked, a softmax behind its logits.

    Metadata and the plan of the memory are left out: Edge Impulse lays the network out anew.

    Raises:
        ExportError: what reads the input is an operation whose scales cannot take up the change.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    from featherlite.models.slim import slim

    # Laid out anew, what was not looked at is gone: the reader that comes with the schema checks nothing.
    model: Any = schema.ModelT.InitFromPackedBuf(slim(data, {}, plan_memory=False))
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = [names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN") for code in model.operatorCodes]
    _rescale(graph, codes, int(graph.inputs[0]))
    if softmax:
        _add_softmax(model, graph, schema)
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return slim(bytes(builder.Output()), {}, plan_memory=False)


def _rescale(graph: Any, codes: list[str], first: int) -> None:
    """Multiplies the scale of the input by 128 and divides that of the kernels that read it."""
    waiting, done = [first], {first}
    while waiting:
        tensor = waiting.pop()
        _multiply(graph, tensor, FACTOR)
        for op in graph.operators:
            inputs, name = [int(one) for one in op.inputs], codes[op.opcodeIndex]
            if tensor not in inputs:
                continue
            if name in _KERNEL_OPS and inputs[0] == tensor and inputs.count(tensor) == 1 and len(inputs) > 1:
                _divide_kernel(graph, inputs[1], name)
            elif name in _PASSING_OPS and inputs[0] == tensor:
                output = int(op.outputs[0])
                if output not in done:
                    done.add(output)
                    waiting.append(output)
            else:
                raise _refusal(f"{name} reads the input")


def _divide_kernel(graph: Any, kernel: int, name: str) -> None:
    readers = sum(kernel in [int(one) for one in op.inputs] for op in graph.operators)
    if readers != 1:
        raise _refusal(f"{name} shares its kernel with another operation")
    _multiply(graph, kernel, 1 / FACTOR)


def _multiply(graph: Any, tensor: int, factor: float) -> None:
    quantization = graph.tensors[tensor].quantization
    if quantization is None or quantization.scale is None:
        raise _refusal(f"tensor {tensor} has no scale")
    quantization.scale = (np.asarray(quantization.scale, np.float32) * np.float32(factor)).tolist()


def _refusal(why: str) -> ExportError:
    return ExportError(
        f"This network cannot be given to Edge Impulse with its exact input: {why}.",
        "Use a network that begins with a convolution.",
    )


def _add_softmax(model: Any, graph: Any, schema: Any) -> None:
    """Lays an int8 softmax behind the output; its scale and zero point are what every runtime asks for."""
    logits = int(graph.outputs[0])
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [1 / 256], [-128]
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = list(graph.tensors[logits].shape), schema.TensorType.INT8, b""
    tensor.quantization = quantization
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    code.version = 2  # the first with int8
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = len(model.operatorCodes), [logits], [len(graph.tensors)]
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.SoftmaxOptions, options
    model.operatorCodes.append(code)
    graph.tensors.append(tensor)
    graph.operators.append(op)
    graph.outputs = [len(graph.tensors) - 1]
