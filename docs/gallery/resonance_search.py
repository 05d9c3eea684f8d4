# %% [markdown]
# # Is there a new particle in this window, and what does it look like?
#
# 0.6 % of the events between 3.3 and 3.7 TeV are signal. The background is learned from the events beside the window;
# signal and signal fraction are then fitted together on top of it.
# %%
import sys

from sundog import Plan
from sundog.reports.figures.anomaly import signal_figure
from sundog.simulate.densities import ResonantToy
from sundog.tasks.anomaly import Cathode, RAnode, SignalRegion

# %%
toy, region = ResonantToy(), SignalRegion(3.3, 3.7)
events = toy.events(100_000, w=0.002, seed=0)
truth = toy.truth(100_000, w=0.002, seed=0)
inside = region.contains(events)
true_fraction = float(truth[inside].double().mean())

# %%
background = Cathode(region, template="flow", plan=Plan(steps=600, batch=1024), options={"layers": 2}, members=1)
search = RAnode(region, background=background).fit(events)
print(search.template_report_)
print(search.fraction_)

# %%
figure = signal_figure(search.sample_signal(5000, seed=0), events[inside], toy.signal(5000, seed=1))
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "resonance_search.png", dpi=110)
print(f"{'Evidence' if search.evidence_ else 'No evidence'} for a signal: {100 * search.signal_fraction_:.2f} % of the "
      f"events inside, in truth {100 * true_fraction:.2f} %.")
