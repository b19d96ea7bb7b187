"""What every fast engine does, whoever computes: frames looked at once, prompts read ahead, words guessed and verified."""
