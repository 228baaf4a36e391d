"""Proofs for offsets by CP-SAT, an optional extra for arenas above their bound: the smallest one, or a closer bound."""

from __future__ import annotations

import math

from genn.memory.offsets import Conflicts, Item, Offsets, Overlaps


def available() -> bool:
    """True if ortools can be imported."""
    try:
        import ortools.sat.python.cp_model  # noqa: F401
    except ImportError:
        return False
    return True


def improve(items: list[Item], overlaps: Overlaps, found: Offsets, seconds: float = 60.0, workers: int = 1) -> Offsets:
    """``found`` made smaller, or proven, within ``seconds``; it comes back as it is where ortools is missing."""
    if found.optimal or not available():
        return found
    from ortools.sat.python import cp_model

    unit = math.gcd(*(v for i in items for v in (i.size, i.align)), *(o.distance for o in overlaps.values()))
    unit = max(1, unit)
    model = cp_model.CpModel()
    limit = found.arena // unit
    floor = -(-found.bound // unit)
    arena = model.new_int_var(floor, limit, "arena")
    starts = []
    for k, item in enumerate(items):
        step = max(1, item.align // unit)
        base = model.new_int_var(0, max(0, (limit - item.size // unit)) // step, f"s{k}")
        start = base * step if step > 1 else base
        starts.append(start)
        model.add(start + item.size // unit <= arena)
        model.add_hint(base, found.places[k] // unit // step)
    conflicts = Conflicts(items, overlaps)
    for j, meets in enumerate(conflicts.meets):
        for i, below, above, exact in meets:
            if i > j:
                continue
            under, over = model.new_bool_var(""), model.new_bool_var("")
            model.add(starts[j] <= starts[i] - below // unit).only_enforce_if(under)
            model.add(starts[j] >= starts[i] + above // unit).only_enforce_if(over)
            choices = [under, over]
            if exact:
                same = model.new_bool_var("")
                model.add(starts[j] == starts[i]).only_enforce_if(same)
                choices.append(same)
            model.add_bool_or(choices)
    model.minimize(arena)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = 1
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return found
    bound = max(found.bound, math.ceil(solver.best_objective_bound - 1e-6) * unit)
    size = int(solver.value(arena)) * unit
    if size < found.arena:
        found = Offsets([int(solver.value(s)) * unit for s in starts], size, found.bound)
    proof = "optimal (CP-SAT)" if status == cp_model.OPTIMAL else ""
    return Offsets(found.places, found.arena, found.arena if proof else min(bound, found.arena), proof)
