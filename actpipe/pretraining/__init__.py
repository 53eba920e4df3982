"""corpus → tokens → batches → language model: the stage behind `actpipe train-lm`."""
