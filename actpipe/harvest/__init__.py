"""tokens → activations → store. `harvest(HarvestConfig(...))` is the stage; the other files are its parts.

Importing this folder loads nothing: take `harvest` from `actpipe.harvest.stage`, its configuration from `.config`.
"""
