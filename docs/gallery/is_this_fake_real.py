# %% [markdown]
# # Is this fake sky real?
#
# Somebody hands you maps of dust and swears that they have the power spectrum of the real ones. They do: the phases of
# the real maps were drawn anew, so every |FFT| is the same. Would you notice, and by which number?

# %%
import sys

import matplotlib.pyplot as plt

import sundog
from sundog.data.public.access import sample
from sundog.simulate.fields import phase_randomised

real = sample("dust")
fake = phase_randomised(real[:24], seed=1)

# %% [markdown]
# The judge measures both, each number beside what the real maps give against each other at the same sample size.

# %%
verdict = sundog.judge(real, fake, statistics=["power spectrum", "pixel histogram", "Minkowski functionals"], seed=0)
for row in verdict.rows:
    print(f"{row.name:22} {'pass' if row.passed else 'FAIL'}  {row.pull:+6.1f} sigma from real against real")
print(verdict.summary())

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
shades = {"vmin": float(real.values[0].min()), "vmax": float(real.values[0].quantile(0.99)), "cmap": "inferno"}
for panel, title, maps in zip(panels, ("real", "same spectrum, new phases"), (real, fake)):
    panel.imshow(maps.values[0], **shades)
    panel.set(title=title, xticks=[], yticks=[])
figure.savefig(sys.argv[1], dpi=120)
