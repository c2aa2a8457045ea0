"""What runs on the edge: no Keras, no TensorFlow."""
