# %% [markdown]
# # Which statistics see that two skies with the same power spectrum differ?
#
# A dust-like field beside its surrogate: the same |FFT| mode by mode, but random phases.
# %%
import sys

import matplotlib.pyplot as plt

from sundog.simulate.fields import filamentary_field, phase_randomised
from sundog.statistics import Frame, choose, find_peaks, gaussian_smooth, radial_profile, stack_peaks

# %%
dust = filamentary_field(24, 128, seed=0)
samples = {"dust": dust.values.double(), "surrogate": phase_randomised(dust, seed=1).values.double()}
frame = Frame.of(samples["dust"], periodic=True)
histogram, spectrum, minkowski, structure = curves = choose(
    "images", ["pixel histogram", "power spectrum", "Minkowski functionals", "structure functions"])


def mean_and_error(statistic, x):
    vectors = statistic.measure(x, frame)
    return statistic.axis(x.shape, frame), vectors.mean(0), vectors.std(0) / len(x) ** 0.5


def worst_pull(statistic):
    (_, a, da), (_, b, db) = (mean_and_error(statistic, x) for x in samples.values())
    return float(((a - b).abs() / (da**2 + db**2).sqrt()).max())


# %%
figure, axes = plt.subplots(2, 5, figsize=(16, 6.4), layout="constrained")
for row, (name, x) in zip(axes, samples.items()):
    row[0].imshow(x[0], cmap="inferno", vmin=float(frame.low), vmax=float(frame.high))
    row[0].set(title=name, xticks=[], yticks=[])
for (name, x), colour in zip(samples.items(), ("C0", "C3")):
    for axis, statistic, scale in ((axes[0, 1], spectrum, "log"), (axes[1, 1], histogram, "linear")):
        axis.errorbar(*mean_and_error(statistic, x), color=colour, label=name)
        axis.set(xlabel=statistic.axis_label, ylabel=statistic.value_label, xscale=scale, yscale="log")
    nu, value, error = (part.reshape(3, -1) for part in mean_and_error(minkowski, x))
    for axis, j in zip((axes[0, 2], axes[1, 2], axes[0, 3]), range(3)):
        axis.errorbar(nu[j], value[j], error[j], color=colour)
        axis.set(xlabel=minkowski.axis_label, ylabel=f"V{j}: {('area', 'perimeter / 4', 'Euler number')[j]} per pixel")
    lag, value, error = (part.reshape(4, -1) for part in mean_and_error(structure, x))
    for p, style in ((1, "-"), (3, "--")):
        axes[1, 3].errorbar(lag[p], value[p], error[p], color=colour, ls=style)
    axes[1, 3].set(xlabel=structure.axis_label, ylabel="S2 (solid), S4 (dashed) ^(1/p) / std", xscale="log")
    smooth = gaussian_smooth(x, 1.0, periodic=True)
    peaks = find_peaks(smooth, threshold=float(frame.mean + frame.std), periodic=True)
    profile = radial_profile(stack_peaks(smooth, peaks, size=21, periodic=True))
    axes[0, 4].hist(((peaks.height - frame.mean) / frame.std).numpy(), 30, histtype="step", color=colour)
    axes[1, 4].plot(profile.radius, profile.value, color=colour, label=f"{name}: {len(peaks) / len(x):.0f} peaks a map")
axes[0, 1].legend(), axes[1, 4].legend()
axes[0, 4].set(xlabel="peak height [sigma]", ylabel="peaks above 1 sigma", yscale="log")
axes[1, 4].set(xlabel="distance from a peak [pixels]", ylabel=f"mean of the stack [{dust.units[0]}]")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "statistics_catalogue.png", dpi=110)
print("Largest difference in standard errors:", ", ".join(f"{s.name} {worst_pull(s):.1f}" for s in curves) + ".")
