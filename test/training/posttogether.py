"""What a process of torchrun runs: one `alpamayo` command, on one thread."""

import torch

from alpamayo_ros import cli

if __name__ == "__main__":
    torch.set_num_threads(1)
    cli.main()
