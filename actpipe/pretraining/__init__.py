"""corpus → tokens → batches → language model. `train_lm(TrainLMConfig(...))` is the stage; the other files are its parts."""
