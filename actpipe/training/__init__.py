"""store → batches → dictionaries. `train(TrainConfig(...))` is the stage; the other files are its parts.

Importing this folder loads nothing: take `train` from `actpipe.training.stage`, its configuration from `.config`.
"""
