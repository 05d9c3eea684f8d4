# %% [markdown]
# # Are maps emulated from thirty runs as filamentary as the simulator's?
#
# From the choice of the runs to the graphs of the maps: a simulator of lognormal fields with two parameters, of which
# thirty runs are bought, an emulator chosen on them, its maps judged beside maps that it never saw.
# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

import sundog
from sundog.data.dataset import Dataset
from sundog.design import nearest_candidates, space_filling
from sundog.random import numpy_stream
from sundog.simulate.fields import phase_randomised
from sundog.statistics.catalogue.filaments import point_sets
from sundog.statistics.catalogue.table import Frame
from sundog.statistics.topology import reconstruct_graph
from sundog.tasks.emulate import emulate

SIZE = 32
white = np.fft.rfft2(numpy_stream(0, "white noise").standard_normal((SIZE, SIZE)))
k = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)).clip(1 / SIZE)


def simulator(parameters):
    """Lognormal fields of one white noise: amplitude of the Gaussian field and slope of its spectrum, (n, 32, 32)."""
    fields = [np.fft.irfft2(white * k ** (-slope / 2)) for _, slope in parameters]
    return np.stack([np.exp(a * f / f.std()) for (a, _), f in zip(parameters, fields)])


# %%
box = np.array([(0.5, 1.0), (2.0, 3.0)])
candidates = space_filling(box, 2000, "sobol", seed=0)
few = nearest_candidates(candidates, space_filling(box, 30, "latin-hypercube", seed=0))
runs = Dataset.from_arrays(simulator(candidates[few]), candidates[few], context_names=["amplitude", "slope"],
                           names=["density"], periodic=True, held_out_fraction=0, exact=True)
found = emulate(runs, families=["pod", "ntk"])
print(found)
# %%
new = numpy_stream(0, "unseen").uniform(box[:, 0], box[:, 1], (40, 2))
truth = Dataset.from_arrays(simulator(new), new, context_names=runs.context_names, names=["density"], periodic=True,
                            held_out_fraction=0, exact=True)
run = sundog.fit("pod", runs)
predicted = run.sample(40, context=new)
shuffled = phase_randomised(predicted, seed=1)
rows = {name: next(row for row in sundog.judge(truth, maps, statistics="filament graph", splits=40).rows
                   if row.name == "filament graph")
        for name, maps in (("emulator", predicted), ("phases drawn anew", shuffled))}
# %%
frame = Frame.of(truth.values.double(), periodic=True)
figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.7), layout="constrained")
shown = (("simulator", truth), ("emulator, 30 runs", predicted), ("its phases drawn anew", shuffled))
for axis, (name, maps) in zip(axes, shown):
    axis.imshow(maps.values[0].double().clamp(min=0.05).log(), cmap="inferno")
    graph = reconstruct_graph(point_sets(maps.values[:1], frame)[0], 6.0)
    for i, j in graph.edges:
        axis.plot(*graph.nodes[[i, j]].T[::-1], color="cyan", lw=1)
    axis.set(title=f"{name}: {graph.branch_points} forks, length {graph.length:.0f}", xticks=[], yticks=[])
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "few_runs.png", dpi=110)
print("p of the filament graphs:", ", ".join(f"{name} {row.p_value:.2g}" for name, row in rows.items()) + ".")
