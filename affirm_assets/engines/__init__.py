"""What computes a step's frames: one folder for each engine, all with the verbs of `affirm_assets.steps.engine`."""
