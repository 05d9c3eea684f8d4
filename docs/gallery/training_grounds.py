# %% [markdown]
# # What does sundog train and test on, before real data arrive?
#
# Every simulator knows its truth: a density, a spectrum, a catalogue, labels. One row of pictures each.

# %%
import sys

import matplotlib.pyplot as plt
import torch

from sundog.simulate import densities, fields
from sundog.simulate.blobs import blobs
from sundog.simulate.dijets import dijet_truth, dijets
from sundog.simulate.radio import KINDS, radio_galaxies

# %%
dust = fields.filamentary_field(1, 192, seed=1)
images = {
    "fields: Gaussian, lognormal, dust, its surrogate": [
        *fields.gaussian_field(1, 192, -2.5, seed=1).values, *fields.lognormal_field(1, 192, -2.5, seed=1).values,
        dust.values[0], fields.phase_randomised(dust, seed=0).values[0]],
    "blobs: 1, 10, 50, 1000": [blobs(1, k, seed=7).values[0] for k in (1, 10, 50, 1000)],
    "radio: " + ", ".join(KINDS): [
        radio_galaxies(1, seed=20 + k, fractions=torch.eye(4)[k].tolist()).values[0].div(0.3).asinh()
        for k in range(4)],
}
laws = [densities.GaussianMixture.ring(), densities.TwoMoons(0.1)]
toy, toy_truth = densities.ResonantToy().events(4000, 0.1, seed=0), densities.ResonantToy().truth(4000, 0.1, seed=0)
jets, jet_truth = dijets(4000, 400, seed=0), dijet_truth(4000, 400, seed=0)

# %%
figure, axes = plt.subplots(4, 4, figsize=(11, 11.6), layout="constrained")
for row, (title, maps) in zip(axes, images.items()):
    row[0].set_title(title, loc="left")
    for axis, image in zip(row, maps):
        axis.imshow(image, cmap="inferno", origin="lower", vmax=float(image.quantile(0.998)))
        axis.set_axis_off()
for axis, law in zip(axes[3], laws):
    axis.plot(*law.sample(3000, seed=0).values.T, ",", color="C0")
for axis, events, truth, feature in zip(axes[3, 2:], (toy, jets), (toy_truth, jet_truth), (0, 3)):
    for chosen, colour in ((~truth, "0.6"), (truth, "C3")):
        axis.plot(events.context[chosen, 0], events.values[chosen, feature], ".", ms=1.5, color=colour)
    axis.set(xlabel=f"{events.context_names[0]} [TeV]", ylabel=events.names[feature], xlim=(3, 4.6))
axes[3, 0].set_title("events: mixture, moons, resonant toy, di-jets (signal red)", loc="left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "training_grounds.png", dpi=110)

# %%
print(f"Ten training grounds with their truth: of {len(jets)} di-jet events, {int(jet_truth.sum())} are signal.")
