"""How gradients become new weights: AdamW, Muon, AMF. The schedule is not known here: whoever steps sets the
learning rate."""
