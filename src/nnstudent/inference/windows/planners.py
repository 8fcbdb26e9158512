"""The planners of windows, by name."""

from __future__ import annotations

from nnstudent.bundle.spec import NetworkSpec
from nnstudent.choices import WINDOWS
from nnstudent.errors import InputError
from nnstudent.inference.host_view import NOTHING
from nnstudent.inference.windows.body import air_limit
from nnstudent.inference.windows.flare22 import TUBES, flare22
from nnstudent.inference.windows.guided import guided
from nnstudent.inference.windows.sliding import Planner, dense

_ROUNDING = 1e-3


def make_planner(name: str, spec: NetworkSpec) -> Planner:
    """The planner of this name for a network.

    Args:
        name: ``dense``: everywhere, as in nnU-Net; ``guided``: over the body but not the air, or
            over the hosts if a lesion stage sees nothing else, closer where the network finds
            something; ``flare22``: as the winner of FLARE22. It skips the neighbors of a window
            with little in it, which of a network of one class, such as tumor, would be nearly all;
            such a network runs ``guided`` instead.
        spec: The network.

    Raises:
        InputError: There is no planner of this name.
    """
    if name == "dense":
        return dense
    if name == "guided" or (name == "flare22" and len(spec.foreground) == 1):
        nothing = NOTHING + _ROUNDING if spec.relative_to else air_limit(spec.normalization)
        return guided(spacing_mm=spec.spacing_mm, air=nothing)
    if name == "flare22":
        return flare22(tubes=[spec.classes.index(tube) for tube in TUBES if tube in spec.classes])
    raise InputError(f"windows {name!r}; expected one of {', '.join(WINDOWS)}")
