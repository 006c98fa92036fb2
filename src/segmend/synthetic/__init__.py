"""Synthetic tissue: EM, neurons, organelles, synapses, and an automatic segmentation of them."""
