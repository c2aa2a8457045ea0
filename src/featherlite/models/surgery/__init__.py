"""A network's graph taken apart and put together again: whatever comes out is an ordinary Keras graph of stock layers.

`rebuild` is the only way in which a graph is changed; the other files say what may be changed, and how.
"""
