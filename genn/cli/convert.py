"""``genn convert``: a trained network to a folder of C."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from genn.cli.output import emit
from genn.cli.root import cli, json_option, sram_option, target_option
from genn.errors import UsageError

CONVERT_HELP = """MODEL is a name of the benchmark suite (genn models), file.py:factory or package.module:factory, or a
.pt2 from torch.export.  A factory is Python code and is run; a .pt2 or weights file is not trusted unless you say
--trust-model.

\b
Examples:
  genn convert mnist-cnn -o out --scheme int8
  genn convert net.py:make --weights net.safetensors -o out --input-shape 1,1,28,28
  genn convert net.pt2 -o out --scheme int16 --calibrate typical.npz -t nucleo-f411re
  genn convert mlperf-ic -o out --scheme int8 -t nucleo-f411re --sram 40K"""


@cli.command(epilog=CONVERT_HELP)
@click.argument("model")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the generated C.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights for a factory: .safetensors, or a state dict .pt."
)
@click.option(
    "--scheme",
    type=click.Choice(["float32", "int16", "int8"]),
    default="float32",
    show_default=True,
    help="What the network computes in.",
)
@click.option(
    "--sparse",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Leave stored zeros out: where worthwhile, everywhere, nowhere.",
)
@click.option(
    "--float-mode",
    type=click.Choice(["exact", "block"]),
    default="exact",
    show_default=True,
    help="float32: block computes a layer's sums as integers, exactly, where calibration shows no larger error.",
)
@click.option("--calibrate", metavar="X.npz", help="Typical real inputs, .npz or .npy; int16 and int8 need them.")
@target_option(None, "  Packs the weights for its core, and refuses a network that cannot fit it.")
@click.option(
    "-O",
    "optimize",
    type=click.Choice(["time", "balanced", "flash", "ram"]),
    default="balanced",
    show_default=True,
    help="What the kernels are chosen for; ram is balanced, and runs layers row by row where that saves memory.",
)
@sram_option("In the place of -O: the fastest plan whose arena fits; exit 1 where none does.")
@click.option("-n", "--name", help="Name of the network in C.", default="net", show_default=True)
@click.option(
    "--input-shape", multiple=True, metavar="1,1,28,28", help="Shape of an input, where the factory gives no example."
)
@click.option(
    "--sensor", metavar="TYPE:SCALE[:OFFSET]", help="Add an integer-only conversion of sensor values (u8 s8 u16 s16)."
)
@click.option(
    "--vectors", type=click.IntRange(1, 1000), default=4, show_default=True, help="Test vectors that travel along."
)
@click.option("--with-frontend", is_flag=True, help="Keyword models: from sound on, MFCC in integers included.")
@click.option("--trust-model", is_flag=True, help="Load a .pt2 with all its pickled members, which may run code.")
@click.option("--force", is_flag=True, help="Overwrite generated files that were edited.")
@click.option("-v", "--verbose", is_flag=True, help="Print bits and the accumulator proof of each layer.")
@json_option
def convert(
    model: str,
    out: Path,
    weights: Path | None,
    scheme: str,
    sparse: str,
    float_mode: str,
    calibrate: str | None,
    target: str | None,
    optimize: str,
    sram: int | None,
    name: str,
    input_shape: tuple[str, ...],
    sensor: str | None,
    vectors: int,
    with_frontend: bool,
    trust_model: bool,
    force: bool,
    verbose: bool,
    json_to: str | None,
) -> None:
    """Convert a trained network to a folder of C."""
    from genn.names import check_name
    from genn.runs import convert_model
    from genn.target import load_target

    check_name(name)
    if sram is not None and click.get_current_context().get_parameter_source("optimize") is ParameterSource.COMMANDLINE:
        raise UsageError("--sram chooses what -O says", "-O", "give one of the two")
    board = load_target(target) if target is not None else None
    made = convert_model(
        model,
        weights,
        scheme,
        calibrate,
        sparse=sparse,
        float_mode=float_mode,
        target=board,
        optimize=optimize,
        sram=sram,
        name=name,
        input_shape=input_shape,
        sensor=sensor,
        vectors=vectors,
        trust=trust_model,
        with_frontend=with_frontend,
    )
    if board is not None:
        made.check_fits(board)
    report = made.save(out, force=force, verbose=verbose)
    if with_frontend:
        facts = made.manifest["options"]["frontend"]
        report.lines.append(
            f"MFCC in integers: off by {facts['rms']:.2f} (root mean square) and {facts['largest']:.1f} at most over"
            f" {facts['waves']} recordings; coefficients spread by {facts['spread'][0]:g} to {facts['spread'][1]:g}"
        )
    emit(report, json_to)
