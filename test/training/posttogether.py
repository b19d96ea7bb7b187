"""What a process of torchrun runs: `alpamayo` commands one after another, as JSON lists of words."""

import json
import os
import sys

import torch

from alpamayo_ros import cli


def main(commands: list[list[str]]) -> None:
    torch.set_num_threads(1)
    for number, words in enumerate(commands):
        # Each command's processes meet anew, where torchrun's store does not know the addresses of those before.
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(number)  # noqa: TID251
        sys.argv = ["alpamayo", *words]
        cli.main()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
