"""Light curves as images for a Swin Transformer V2 (arXiv:2507.11711)."""
