"""The adversarial fit: generator, discriminator and their training."""
