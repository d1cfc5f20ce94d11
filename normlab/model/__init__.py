"""The PyTorch parts of the model, one file an axis of variation; `normlab.catalogue` names what is here."""
