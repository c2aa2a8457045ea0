"""Augmentation: one file a family, each with what is drawn and with what is then done to the photos.

Draws are small arrays of numbers, made in NumPy from a batch's own generator (`draws.py`), so that batch `i` of an
epoch can be drawn again exactly. What they stand for is done inside the compiled train step (`layer.py`), in
operations of `keras.ops` that every backend has. Drawing is written against `Numbers`, so that the layers for other
people's pipelines (`featherlite.training.layers`) draw by the very same code, from a Keras seed generator.

To add an augmentation: a file here with its drawing and its doing, its keys in `config.py`, its line in `draws.py` and
in `layer.py`. To add a kind of weather: a file under `weather/`, and its name in `config.py`.
"""
