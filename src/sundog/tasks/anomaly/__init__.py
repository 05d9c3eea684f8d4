"""Resonant anomaly detection: learn the background beside a mass window, find what does not belong inside."""

from __future__ import annotations

from sundog.tasks.anomaly.background.spectrum import MassLaw, histogram_masses, kde_masses, smooth_masses
from sundog.tasks.anomaly.background.template import Template, TemplateReport
from sundog.tasks.anomaly.checks.choice import InterpolationChoice, choose_interpolation
from sundog.tasks.anomaly.checks.evaluation import SicBand, SicCurve, expected_significance, sic_band, sic_curve
from sundog.tasks.anomaly.checks.fraction import SignalFraction, signal_fraction
from sundog.tasks.anomaly.checks.sculpting import Sculpting
from sundog.tasks.anomaly.detectors.anode import Anode
from sundog.tasks.anomaly.detectors.cathode import Cathode
from sundog.tasks.anomaly.detectors.cwola import CWoLa
from sundog.tasks.anomaly.detectors.lacathode import LaCathode
from sundog.tasks.anomaly.detectors.prior import FamilySearch, SignalPrior, learn_prior
from sundog.tasks.anomaly.detectors.ranode import Profile, RAnode
from sundog.tasks.anomaly.detectors.references import IdealisedAD, Supervised
from sundog.tasks.anomaly.detectors.sigma import Sigma
from sundog.tasks.anomaly.detectors.transports import Curtains, RadOT, Transit
from sundog.tasks.anomaly.regions import SignalRegion, sliding_windows
from sundog.tasks.anomaly.scan.bump import BumpFit, Peak, common_edges, fit_bump
from sundog.tasks.anomaly.scan.found import ScanResult, WindowResult, look_together
from sundog.tasks.anomaly.scan.search import ScanPlan, scan
from sundog.tasks.anomaly.scan.significance import LookElsewhere, channels, look_elsewhere

__all__ = [
    "Anode",
    "BumpFit",
    "CWoLa",
    "Cathode",
    "Curtains",
    "FamilySearch",
    "IdealisedAD",
    "InterpolationChoice",
    "LaCathode",
    "LookElsewhere",
    "MassLaw",
    "Peak",
    "Profile",
    "RAnode",
    "RadOT",
    "ScanPlan",
    "ScanResult",
    "Sculpting",
    "SicBand",
    "SicCurve",
    "Sigma",
    "SignalFraction",
    "SignalPrior",
    "SignalRegion",
    "Supervised",
    "Template",
    "TemplateReport",
    "Transit",
    "WindowResult",
    "channels",
    "choose_interpolation",
    "common_edges",
    "expected_significance",
    "fit_bump",
    "histogram_masses",
    "kde_masses",
    "learn_prior",
    "look_elsewhere",
    "look_together",
    "scan",
    "sic_band",
    "sic_curve",
    "signal_fraction",
    "sliding_windows",
    "smooth_masses",
]
