"""What a trained model knows of held-out scenes: what is asked and answered, what that is worth, what is told of it."""
