"""The same network on photos of another size, where every layer can take it."""

from __future__ import annotations

from typing import Any

import keras

from featherlite.errors import RequestError
from featherlite.models.surgery.rebuild import rebuild

__all__ = ["resized", "smallest_size"]

Shape = tuple[int, int, int]


def resized(network: keras.Model, height: int, width: int) -> keras.Model:
    """The network on photos of height x width, all weights kept; `network` is left as it is.

    Raises:
        RequestError: a layer is bound to the size it was built for, or its map has collapsed: it steps over more places
            than there are left.
    """
    where = f"'{network.name}' cannot take photos of {height}x{width} px"
    try:
        fresh = rebuild(network, shape=(height, width, 3))
    except RequestError as error:
        raise RequestError(f"{where}: {error.message}") from error
    former = {layer.name: layer for layer in network.layers}
    for layer in fresh.layers:
        old = [tuple(weight.shape) for weight in former[layer.name].weights] if layer.name in former else []
        new = [tuple(weight.shape) for weight in layer.weights]
        if layer.weights and old != new:
            raise RequestError(
                f"{where}: '{layer.name}' is bound to the size it was built for ({old[0]}, not {new[0]})."
            )
    known = _collapsed(network)
    for name, (rows, columns) in _collapsed(fresh).items():
        if name not in known:
            raise RequestError(f"{where}: the map before '{name}' is {rows}x{columns}, less than one step of it.")
    return fresh


def smallest_size(network: keras.Model, least: int) -> int:
    """The smallest longer side in px, of at least `least`, at which the network holds together.

    It is looked for between `least` and the network's own size by halving: a larger photo leaves larger maps.
    """
    height, width = (int(side) for side in network.input_shape[1:3])
    own = max(height, width)
    low, high = min(least, own), own
    while low < high:
        middle = (low + high) // 2
        if _takes(network, max(1, round(height * middle / own)), max(1, round(width * middle / own))):
            high = middle
        else:
            low = middle + 1
    return high


def _takes(network: keras.Model, height: int, width: int) -> bool:
    try:
        resized(network, height, width)
    except RequestError:
        return False
    return True


def _collapsed(network: keras.Model) -> dict[str, tuple[int, int]]:
    """The layers whose step is larger than the map before them, with that map's size."""
    found = {}
    for layer in network.layers:
        rows_columns = _map_before(layer)
        steps = getattr(layer, "strides", None)
        if rows_columns is None or not isinstance(steps, list | tuple) or len(steps) != 2:
            continue
        if any(places < step for places, step in zip(rows_columns, steps, strict=True)):
            found[str(layer.name)] = rows_columns
    return found


def _map_before(layer: Any) -> tuple[int, int] | None:
    """Rows and columns of what the layer steps over, without the zeros that a layer may have laid around it."""
    if isinstance(layer, keras.layers.InputLayer) or not isinstance(layer.input, keras.KerasTensor):
        return None
    before = layer.input._keras_history.operation
    if isinstance(before, keras.layers.ZeroPadding2D):
        return _map_before(before)
    shape = layer.input.shape
    return (shape[1], shape[2]) if len(shape) == 4 else None
