"""Training: `fit` is the only loop. The way through this room:

- the steps: `train`, `distill`, `probe`; their settings: `config`, `augment/`
- a fit: `fit`, its phases by plain numbers in `plan`, their layers in `unlocking`, each at work in `phases`; `judging`
  says what an epoch was worth, `checkpoint` and `epochs` keep it
- one step of it: `batches` of photos that `sampling` chose, through the network as `trainee` compiles it; `losses`,
  `optimizers` and `schedule` are registries; `resize` for other sizes, `batchnorm` for its statistics
- the head alone, on stored features: `features`; fitted in convex form: `probing/`
- what it is taught beside the labels: `guide`, and `teachers/` for `distill`
- what rate it wants: `find_rate`
- for pipelines of others: `layers`
"""
