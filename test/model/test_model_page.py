"""docs/model.md and its figure: counts, positions and names are those of the code."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
import torch
from model.nano import SHIPPED, nano_tokenizer, prompt
from model.released import released_config

from alpamayo_ros.bundle.config import Config, TriplaneConfig, read_config
from alpamayo_ros.model.language import rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Images, image_blocks
from alpamayo_ros.profile import InputProfile, read_profile
from alpamayo_ros.types import HORIZON, Navigation, role_index

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "model.md").read_text()
FIGURE = (ROOT / "docs" / "pictures" / "model.svg").read_text()
TURN = Navigation("turn_left", 40.0, "Main St", expires_ns=10_000_000_000)
NUMBER = re.compile(r"\d[\d,]*")


def table(first: str) -> list[list[str]]:
    """Rows of the table whose head starts with this cell."""
    (text,) = re.findall(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n((?:\|.*\|\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip(" *") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()]


def count(cell: str) -> int:
    """Tokens of a cell: "23", "3,006" or "16 x 182"."""
    return prod(int(number.replace(",", "")) for number in NUMBER.findall(cell))


SEQUENCE = table("piece")
PIECES, TOTAL, WRITTEN, ACTIONS = SEQUENCE[:-3], *SEQUENCE[-3:]


def test_the_shipped_models_prompt_is_the_one_of_the_page() -> None:
    encoded, tokenizer = prompt(navigation=TURN, bundle=SHIPPED), nano_tokenizer(SHIPPED)
    ids = encoded.token_ids.tolist()
    positions = rope_positions(encoded.token_ids, encoded.blocks, read_config(SHIPPED).image_token_id)[0]
    opening = ("vision_start", "traj_history_start", "route_start")
    starts = [0, *(ids.index(tokenizer.id(f"<|{name}|>")) for name in opening)]
    starts += [ids.index(tokenizer.id("<|route_end|>")) + 1, len(ids) - 1]
    counts = [end - start for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]
    assert [count(row[3]) for row in PIECES] == counts
    assert [int(row[4]) for row in PIECES] == [int(positions[start]) for start in starts]
    assert count(TOTAL[3]) == len(ids)
    assert (WRITTEN[4], ACTIONS[4]) == (str(int(positions.max()) + 1), f"{int(positions.max()) + 1} + w")
    assert ACTIONS[3] == str(HORIZON)


def test_the_prompt_reads_as_printed() -> None:
    text = nano_tokenizer(SHIPPED).decode(prompt(navigation=TURN, bundle=SHIPPED).token_ids.tolist())
    text = re.sub(r"(<\|image_pad\|>)+", lambda run: f"<|image_pad|> x {len(run[0]) // len('<|image_pad|>')}", text)
    text = re.sub(r"(<i\d+>)+", lambda run: f"<i*> x {run[0].count('<')}", text)
    (printed,) = re.findall(r"```\n(<\|im_start\|>.*?)\n```", PAGE, re.DOTALL)
    assert printed.replace("user\n  ", "user\n").replace("\n  ", "") == text


def blocks_of(profile: InputProfile, config: Config) -> list[tuple[int, int, int]]:
    """Grids of the placeholders of an observation with every camera."""
    names = [(role_index(role), step) for role in profile.cameras for step in range(len(profile.frame_offsets_ms))]
    grid = (profile.image_height // config.vision.patch_size, profile.image_width // config.vision.patch_size)
    return [block.grid for block in image_blocks(Images(torch.empty(0), grid, *zip(*names, strict=True)), config)]


def test_the_sequence_of_r1_adds_up() -> None:
    """Its words need Qwen's vocabulary, which is not here; images, history and positions do not."""
    config, profile = released_config("r1"), read_profile("alpamayo_r1_10b")
    grids = blocks_of(profile, config)
    tokens = [count(row[1]) for row in PIECES]
    assert tokens[1] == sum(prod(grid) + 2 for grid in grids)
    assert tokens[2] == config.history_tokens + 2
    assert sum(tokens) == count(TOTAL[1])
    spans = [tokens[0], sum(max(grid) + 2 for grid in grids), *tokens[2:]]  # positions that each piece takes
    starts = [sum(spans[:i]) for i in range(len(spans))]
    assert [int(row[2]) for row in PIECES if row[2]] == [at for at, row in zip(starts, PIECES, strict=True) if row[2]]
    assert (WRITTEN[2], ACTIONS[2]) == (str(sum(spans)), f"{sum(spans)} + w")


def test_the_figure_shows_the_sequence_of_r1() -> None:
    shown = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", FIGURE) if text[:1].isdigit()]
    config, tokens = released_config("r1"), [count(row[1]) for row in PIECES]
    columns = [sum(tokens[:i]) for i in range(len(tokens))]
    for row, column in zip(PIECES, columns, strict=True):
        assert not row[2] or {row[2], f"{column:,}"} <= set(shown), row[0]
    assert {TOTAL[1], WRITTEN[2], ACTIONS[2], ACTIONS[1]} <= set(shown)
    assert f"a prompt of {TOTAL[1]} tokens" in FIGURE
    for number, tap in enumerate(config.vision.deepstack_visual_indexes):
        assert f">layer {number}<" in FIGURE
        assert f"features of vision layer {tap}<" in FIGURE
    assert f"vision tower, {config.vision.depth} layers" in FIGURE
    assert f"Action expert, {config.expert.num_hidden_layers} layers" in FIGURE
    assert f">layer {config.text.num_hidden_layers - 1}<" in FIGURE


@pytest.mark.parametrize(("column", "config"), [(3, released_config("r1")), (4, read_config(SHIPPED))], ids=["r1", "ar1_nano"])
def test_every_number_of_the_networks_is_in_its_row(column: int, config: Config) -> None:
    with torch.device("meta"):
        numbers = {name: parameter.numel() for name, parameter in Alpamayo(config).named_parameters()}
    *parts, total = [row for row in table("file") if row[2]]
    for row in parts:
        prefix = row[2].strip("`")
        of_part = [numbers.pop(name) for name in list(numbers) if name.startswith(prefix)]
        assert count(row[column]) == sum(of_part), prefix
    assert not numbers
    assert count(total[column]) == sum(count(row[column]) for row in parts)


def test_every_module_is_in_the_table() -> None:
    rooms = {str(path.relative_to(ROOT / "alpamayo_ros" / "model")) for path in (ROOT / "alpamayo_ros" / "model").rglob("*.py")}
    named = set(re.findall(r"`([\w/]+\.py)`", " ".join(row[0] for row in table("file"))))
    assert named == {room for room in rooms if not room.endswith("__init__.py")}


@pytest.mark.parametrize(("row", "patch", "front_only"), [(2, (8, 8, 8), False), (3, (8, 8, 8), True), (4, (4, 6, 6), True)])
def test_triplanes_have_the_tokens_of_the_page(row: int, patch: tuple[int, int, int], front_only: bool) -> None:
    planes = TriplaneConfig((96, 96, 48), patch, 36, 80.0, 180.0, (-3.0, 45.0), points=1, features=1, front_only=front_only)
    assert table("views")[row][1].startswith(f"{planes.tokens} a time")


def test_images_have_the_tokens_of_the_page() -> None:
    single, flex, *_ = (row[1] for row in table("views"))
    grids = {name: blocks_of(read_profile(name), released_config("1.5")) for name in ("alpamayo_r1_10b", "alpamayo_1_5_10b")}
    r1, all_cameras = (sum(map(prod, of_model)) for of_model in grids.values())
    assert f"{prod(grids['alpamayo_r1_10b'][0])} an image of 576 x 320; {r1:,} in R1, up to {all_cameras:,} in 1.5" == single
    ((_, _, scene_tokens),) = blocks_of(read_profile(str(SHIPPED / "profile.yaml")), read_config(SHIPPED))
    assert f"; {scene_tokens} for the 35 of `ar1_nano`" in flex


def test_the_cache_takes_the_memory_of_the_page() -> None:
    text = released_config("r1").text
    of_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * torch.bfloat16.itemsize
    said = re.search(r"(\d+) KiB a token in R1 and 1.5 in bfloat16, (\d+) MiB", PAGE)
    assert said
    assert said.groups() == (f"{of_token / 2**10:.0f}", f"{of_token * count(TOTAL[1]) / 2**20:.0f}")
