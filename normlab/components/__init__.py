"""The PyTorch parts of the model, one file an axis of variation; `normlab.tables` names what is here."""
