"""Training: configurations, run folders, the training loop, pre-training, fine-tuning."""
