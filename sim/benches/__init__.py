"""cocotb benches of single components; :mod:`oarlock.sim.bench` builds and runs them."""
