"""Modules that are emitted once, however many instances there are."""

from amaranth import *
from amaranth.lib.wiring import In


__all__ = ["SharedModules", "instantiate"]


class SharedModules:
    """What is passed to :func:`amaranth.back.rtlil.convert` as the platform to share modules.

    Amaranth emits a module for every instance. With this as the platform :func:`instantiate` emits
    instances only, and whoever converts has to convert :attr:`components` after it.

    Members
    -------
    components : dict of :class:`str` to :class:`~amaranth.lib.wiring.Component`
        By the name of the module. Each runs on a port ``clk``, its ``sync`` domain without reset.
    """

    def __init__(self):
        self.components = {}
        self._parameters = {}

    def instance(self, name, submodule, component, **parameters):
        """Return an interface like that of the component, and the instance behind it."""
        if name not in self.components:
            self.components[name] = component(**parameters)
            self._parameters[name] = parameters
        if self._parameters[name] != parameters:
            raise ValueError(f"Module {name} must be the same everywhere, not {parameters!r}")
        signature = self.components[name].signature
        interface = signature.create(path=(submodule,))
        ports = {f"{'i' if member.flow == In else 'o'}_{'__'.join(map(str, path))}": value
                 for path, member, value in signature.flatten(interface)}
        return interface, Instance(name, i_clk=ClockSignal("sync"), **ports)


def instantiate(m, submodule, platform, component, **parameters):
    """Add a submodule that needs no reset, and return it or an interface like its own.

    This is the one place in which emission of Verilog differs from simulation in Amaranth.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
        Where to add it.
    submodule : :class:`str`
        Its name there.
    platform : object
        If it is a :class:`SharedModules`, the submodule is an instance of a shared module.
    component : class
        What to make. Its name in snake case is the module's.
    **parameters
        What to make it with.
    """
    if not isinstance(platform, SharedModules):
        m.submodules[submodule] = made = component(**parameters)
        return made
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in component.__name__).lstrip("_")
    interface, m.submodules[submodule] = platform.instance(
        name, submodule, component, **parameters)
    return interface
