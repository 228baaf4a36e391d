"""``genn bench NAME``: each benchmark a command with its own options."""

from __future__ import annotations

from pathlib import Path

import click

from genn.cli.output import emit
from genn.cli.root import Group, cli, csv_option, json_option


@cli.group(cls=Group)
def bench() -> None:
    """Run a benchmark and print its table; each takes --json too."""


@bench.command("suite")
@click.option("--models", metavar="A,B", help="Of genn models; default is all.  A name brings its variants along.")
@click.option("--schemes", default="float32,int16,int8", show_default=True, metavar="A,B")
@click.option("-O", "optimize", type=click.Choice(["time", "balanced", "flash"]), default="balanced",
              show_default=True, help="What the kernels are chosen for.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; default all cores.")
@click.option("--data", type=click.Path(path_type=Path), envvar="GENN_DATA", metavar="DIR",
              help="Folder with test sets to measure accuracy on; without it the recorded figures are shown.")
@json_option
@csv_option
@click.option("--html", "html_to", type=click.Path(path_type=Path, dir_okay=False), metavar="F",
              help="Write one page with tables and plots.")
def bench_suite(
    models: str | None,
    schemes: str,
    optimize: str,
    jobs: int | None,
    data: Path | None,
    json_to: str | None,
    csv_to: str | None,
    html_to: Path | None,
) -> None:
    """Accuracy, size, cycles, RAM and flash of the suite's models beside published figures."""
    from genn.atomic import atomic_write
    from genn.bench.suite import NAMES
    from genn.bench.suite import bench as measure
    from genn.bench.suite_html import page
    from genn.host import jobs_or_all

    found = measure(models.split(",") if models else NAMES, schemes.split(","), jobs_or_all(jobs), data, optimize)
    if html_to is not None:
        atomic_write(html_to, page(found))
    emit(found, json_to, csv_to)


@bench.command("verify")
@click.option("--models", default="mnist-mlp,mnist-cnn", show_default=True, help="Models, separated by commas.")
@json_option
def bench_verify(models: str, json_to: str | None) -> None:
    """Images per second of host C and torch, in one run."""
    from genn.bench.verify import bench as measure

    emit(measure(models.split(",")), json_to)


@bench.command("emulator")
@click.option("--thumbulator", type=click.Path(path_type=Path), metavar="PATH", help="Measure Thumbulator too.")
@json_option
def bench_emulator(thumbulator: Path | None, json_to: str | None) -> None:
    """Speed of the emulator on the programs that come with it, against the bare engine."""
    from genn.bench.emulator import bench as measure

    emit(measure(thumbulator=thumbulator), json_to)


@bench.command("kernels")
@click.option("--workloads", metavar="A,B", help="Of mnist-mlp mnist-cnn ds-block sparse-linear kws ic vww ad.")
@click.option("--schemes", default="int8", show_default=True, metavar="A,B", help="Of float32, int16, int8.")
@click.option("--cores", default="m0plus,m4", show_default=True, metavar="A,B", help="Of m0plus, m4.")
@click.option("--modes", default="time,balanced,flash", show_default=True, metavar="A,B", help="As convert's -O.")
@click.option("--kernel", metavar="NAME", help="Allow only this tuned kernel; portable for none.")
@click.option("--against", type=click.Path(path_type=Path), metavar="F",
              help="An earlier --json F: exit 1 if a figure is more than 2 % above it.")
@json_option
@csv_option
def bench_kernels(
    workloads: str | None,
    schemes: str,
    cores: str,
    modes: str,
    kernel: str | None,
    against: Path | None,
    json_to: str | None,
    csv_to: str | None,
) -> None:
    """Cycles, flash and RAM of the kernels on fixed workloads."""
    from genn.bench.kernels import WORKLOADS
    from genn.bench.kernels import bench as measure

    chosen = workloads.split(",") if workloads else WORKLOADS
    emit(measure(chosen, schemes.split(","), cores.split(","), modes.split(","), kernel, against), json_to, csv_to)


@bench.command("peers")
@click.option("--cmsis-nn", type=click.Path(path_type=Path), metavar="PATH", help="A checkout of CMSIS-NN.")
@click.option("--tinymaix", type=click.Path(path_type=Path), metavar="PATH", help="A checkout of TinyMaix.")
@click.option("--onnx2c", type=click.Path(path_type=Path), metavar="PATH", help="A checkout of onnx2c, built.")
@click.option("--tflm", type=click.Path(path_type=Path), metavar="PATH",
              help="A checkout of TensorFlow Lite Micro, built for each core.")
@click.option("--workloads", metavar="A,B", help="As for bench kernels, or models of the suite.")
@click.option("--schemes", default="int8", show_default=True, metavar="A,B", help="Of float32, int8.")
@click.option("--cores", default="m0plus,m4", show_default=True, metavar="A,B", help="Of m0plus, m4.")
@click.option("--modes", default="time,balanced,flash", show_default=True, metavar="A,B", help="Ours, as convert's -O.")
@json_option
@csv_option
def bench_peers(
    cmsis_nn: Path | None,
    tinymaix: Path | None,
    onnx2c: Path | None,
    tflm: Path | None,
    workloads: str | None,
    schemes: str,
    cores: str,
    modes: str,
    json_to: str | None,
    csv_to: str | None,
) -> None:
    """Other libraries beside ours, on the same networks, compiler and emulator."""
    from genn.bench import peers

    chosen = workloads.split(",") if workloads else peers.DEFAULT
    found = peers.found(cmsis_nn, tinymaix, onnx2c, tflm)
    emit(peers.bench(found, chosen, cores.split(","), schemes.split(","), modes.split(",")), json_to, csv_to)


@bench.command("memory")
@click.option("--models", metavar="A,B", help="Networks, separated by commas; default all.")
@click.option("--prove", type=click.FloatRange(0), default=30.0, show_default=True, metavar="SECONDS",
              help="For a proof of offsets that has not been found yet, where ortools is installed.")
@json_option
@csv_option
def bench_memory(models: str | None, prove: float, json_to: str | None, csv_to: str | None) -> None:
    """SRAM plans of networks from papers: default, each step, arena, bound and proof."""
    from genn.bench.memory import bench as measure

    emit(measure(models.split(",") if models else None, prove=prove), json_to, csv_to)
