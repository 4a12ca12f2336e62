"""How weights come about: configurations, run folders, the training loop, pre-training, fine-tuning."""
