"""Networks. The way through this room:

- which: `build` (the step), `backbones/` (a family a file), `heads/`, `pooling`, `attention`, `named`
- from which weights: `weights/`; brought to one input by `contract`
- read, written, counted, asked: `network`, `macs`, `logits`; `framework` starts Keras
- as an artefact: `convert` (and its worker), `slim`, `memory_plan`, `artefact`, `golden`
"""
