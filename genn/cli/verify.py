"""``genn verify``: PyTorch, reference and C compared."""

from __future__ import annotations

from pathlib import Path

import click

from genn.cli.output import emit
from genn.cli.root import cli, json_option, target_option

VERIFY_HELP = """\b
Examples:
  genn verify out
  genn verify out --model net.py:make --weights net.safetensors --data test.npz
  genn verify out --on host,emu,qemu --layers"""


@cli.command(epilog=VERIFY_HELP)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--model", "spec", help="Compare with this PyTorch model too (suite models are found by themselves).")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for --model.")
@click.option(
    "--data", "data_file", metavar="X.npz", help="Real inputs, .npz or .npy; y or labels in a .npz gives accuracy."
)
@click.option("--on", default="host", show_default=True, help="Runners, separated by commas: host, emu, qemu.")
@target_option("cortex-m0plus", "  For --on emu.")
@click.option("--layers", is_flag=True, help="Compare every layer, and name the first that differs.")
@click.option("--samples", type=click.IntRange(1), help="Use the first N samples only.")
@click.option("--jobs", type=click.IntRange(1), help="Threads on the host; default all cores.")
@click.option("--sanitize", is_flag=True, help="Build the host C with AddressSanitizer and UBSan.")
@click.option("--trust-model", is_flag=True, help="As for convert, for --model.")
@json_option
def verify(
    directory: Path,
    spec: str | None,
    weights: Path | None,
    data_file: str | None,
    on: str,
    target: str | None,
    layers: bool,
    samples: int | None,
    jobs: int | None,
    sanitize: bool,
    trust_model: bool,
    json_to: str | None,
) -> None:
    """Compare PyTorch, the NumPy reference and the C of DIRECTORY, byte for byte."""
    from genn.runs import parse_runners, verify_report

    report = verify_report(
        directory,
        spec,
        weights,
        data_file,
        on=parse_runners(on),
        target=target,
        layers=layers,
        samples=samples,
        jobs=jobs,
        sanitize=sanitize,
        trust=trust_model,
    )
    emit(report, json_to)
