"""The reference's network with fewer, larger steps: static memory, joined matrices, whole stages recorded as CUDA graphs."""
