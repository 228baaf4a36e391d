"""``genn targets``, ``ops``, ``models`` and ``doctor``: what there is."""

from __future__ import annotations

from genn.cli.output import emit
from genn.cli.root import cli, json_option


@cli.command()
@json_option
def targets(json_to: str | None) -> None:
    """List boards and chips."""
    from genn.runs import targets_report

    emit(targets_report(), json_to)


@cli.command()
@json_option
def ops(json_to: str | None) -> None:
    """List the operators, and the ATen overloads each one takes."""
    from genn.runs import ops_report

    emit(ops_report(), json_to)


@cli.command()
@json_option
def models(json_to: str | None) -> None:
    """List the models of the benchmark suite."""
    from genn.suite.listing import models_report

    emit(models_report(), json_to)


@cli.command()
@json_option
def doctor(json_to: str | None) -> None:
    """Say what is installed, which version, and what to do about the rest."""
    from genn.runs import doctor_report

    emit(doctor_report(), json_to)
