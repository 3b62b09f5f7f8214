"""Language models: the slots that clients ask for, and the models that answer them."""
