# %% [markdown]
# # How does one read scattering covariances?
#
# A filamentary field beside its surrogate of random phases: every coefficient of both, by octaves and angles.
# %%
import sys

import torch

from sundog.reports.figures.coefficients import coefficients
from sundog.simulate.fields import filamentary_field, phase_randomised
from sundog.statistics import ScatteringCovariance

# %%
torch.set_num_threads(1)
dust = filamentary_field(12, 128, seed=0)
phi = ScatteringCovariance((128, 128), J=4, L=4, isotropic=True)
real = phi(dust.values.double()).normalised()
surrogate = phi(phase_randomised(dust, seed=1).values.double()).normalised()
figure = coefficients(real)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "scattering_coefficients.png", dpi=110)

# %%
# S3 and S4 come in blocks of one angle difference per point: parallel first, perpendicular in the middle.
parallel, perpendicular = real["S4"].mean(0)[0::16], real["S4"].mean(0)[8::16]
pull = (real.mean() - surrogate.mean()).vector / (real.vector.std(0) ** 2 + surrogate.vector.std(0) ** 2).sqrt()
print("Fine ripples lie along the structures that hold them: S4 at equal angles is "
      f"{(parallel / perpendicular).mean():.1f} times S4 at right angles; {int((pull.abs() > 3).sum())} of "
      f"{len(phi.labels)} coefficients tell the field from its surrogate by more than three standard deviations.")
