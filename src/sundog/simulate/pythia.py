"""LHC-Olympics-like di-jet events from Pythia 8: collisions, a light detector, jets (extra ``hep``).

Background: QCD di-jets of 13 TeV collisions. Signal: W' (3.5 TeV) -> X (500 GeV) Y (100 GeV), each to two quarks; the
W and the Z of Pythia's W' -> W Z take the masses of X and Y. Others are a ``Resonance``: other masses, or
Z' -> X X with X -> W q -> three quarks each, for which Pythia's top quark takes the mass of X. The generator is that of
the LHC Olympics, the detector is a stand-in for its simulation: call the events LHCO-like, never LHCO.

Source: settings after Kasieczka et al. 2021 (arXiv:2101.08320), section 2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sundog.checks import at_least, one_of, optional
from sundog.data.dataset import Dataset
from sundog.data.parts import Done, write_parts
from sundog.errors import OptionError
from sundog.random import key, numpy_stream
from sundog.simulate.dijets import dijet_truth
from sundog.simulate.jets import COLUMNS, UNITS, jet_table

CHUNK = 1000  # events of one folder: ten seconds of work
BATCH = 250  # collisions asked of Pythia at once
GEV = 1e3  # per TeV
_COMMON = ("Print:quiet = on", "Beams:eCM = 13000.", "PartonLevel:MPI = off", "Random:setSeed = on")
_WIDTH, _REACH = 0.04, 0.2  # of X and Y, in parts of their mass; reach on either side
_LEFT_OUT = (12, 14, 16)  # neutrinos


@dataclass(frozen=True)
class Resonance:
    """A heavy particle that decays to two jets of two prongs each, of masses heavy and light, or of three each.

    Attributes
    ----------
    mass, heavy, light : of the resonance and of the particles that become the jets, TeV; of three prongs both are heavy
    prongs : 2 or 3
    """

    mass: float = 3.5
    heavy: float = 0.5
    light: float = 0.1
    prongs: int = 2

    def __post_init__(self) -> None:
        one_of(str(self.prongs), ("2", "3"), "number of prongs")
        if not 0 < self.light <= self.heavy < 0.5 * self.mass or (self.prongs == 3 and self.heavy < 0.12):
            raise OptionError("no such decay", got=str(self), expected="0 < light <= heavy < mass / 2; "
                              "heavy >= 0.12 TeV of three prongs, which hold a W", do="pass masses in TeV")

    def settings(self) -> tuple[str, ...]:
        """Lines for Pythia."""
        mass, three = 1e3 * self.mass, self.prongs == 3
        who = 32 if three else 34
        lines = [f"{who}:m0 = {mass:g}", f"{who}:doForceWidth = on", f"{who}:mWidth = {80 / 3500 * mass:g}",
                 f"{who}:onMode = off"]
        if three:
            return ("NewGaugeBoson:ffbar2gmZZprime = on", "Zprime:gmZmode = 3", *lines, "32:onIfAny = 6",
                    *_narrow(6, self.heavy)[:-2], "24:onMode = off", "24:onIfAny = 1 2 3 4 5")
        return ("NewGaugeBoson:ffbar2Wprime = on", "Wprime:coup2WZ = 1.", *lines, "34:onIfAll = 23 24",
                *_narrow(24, self.heavy), *_narrow(23, self.light))


def pythia_signals(resonances: Sequence[Resonance], n: int, seed: int, *, m_jj_min: float = 3.0, angle: bool = False,
                   folder: str | Path | None = None, workers: int = 0, scheduler: str | None = None,
                   done: Done | None = None) -> Dataset:
    """n events of each resonance, one after the other; context m_jj, then heavy and light [TeV] and prongs.

    About 150 events per second and core. The context is what ``SignalPrior`` learns from; other parameters as in
    ``pythia_dijets``.
    """
    jobs = [(f"signal-{r.prongs}-{r.mass:g}-{r.heavy:g}-{r.light:g}", i, size)
            for r in resonances for _, i, size in _jobs("signal", at_least(n, 1, "number of events"))]
    _pythia()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder)
        paths = write_parts(place, _keys(jobs, seed, m_jj_min), write_chunk, (seed, m_jj_min),
                            workers=workers, scheduler=scheduler, done=done)
        table = torch.from_numpy(np.concatenate([np.load(path / "events.npy") for path in paths]))
    width = len(COLUMNS) if angle else len(COLUMNS) - 1
    of = torch.tensor([astuple(r)[1:] for r in resonances], dtype=torch.float64).repeat_interleave(n, 0)
    return Dataset.from_arrays(table[:, 1:width], torch.cat([table[:, :1], of], 1), COLUMNS[1:width], UNITS[1:width],
                               context_names=("m_jj", "heavy", "light", "prongs"),
                               context_units=("TeV", "TeV", "TeV", ""), held_out_fraction=0.0,
                               provenance={"simulator": "sundog.simulate.pythia.pythia_signals", "seed": seed,
                                           "m_jj_min": m_jj_min, "n": n, "resonances": len(resonances),
                                           "called": "LHCO-like"})


def pythia_dijets(n_background: int, n_signal: int, seed: int, *, m_jj_min: float = 3.0, angle: bool = False,
                  folder: str | Path | None = None, workers: int = 0, scheduler: str | None = None,
                  done: Done | None = None) -> Dataset:
    """Events with the columns of ``simulate.dijets.dijets``, from collisions, in random order.

    About 100 background events per second and core. ``dijet_truth`` with the same numbers tells which are signal.

    Parameters
    ----------
    m_jj_min : lower end of the spectrum, TeV; the generator starts at nine tenths of it
    angle : whether to add ``delta_r``
    folder : of the pieces of 1000 events; a stopped simulation goes on there. Nothing is kept when None
    workers, scheduler, done : see ``write_parts``; the numbers do not depend on them

    Raises
    ------
    MissingExtraError : without pythia8mc or fastjet.
    """
    if not 2.4 <= m_jj_min <= 3.4:
        raise OptionError("m_jj_min out of range", got=m_jj_min, expected="2.4 <= m_jj_min <= 3.4 TeV",
                          do="below, the trigger at 1.2 TeV shapes the spectrum")
    jobs = _all_jobs(n_background, n_signal)
    is_signal = dijet_truth(n_background, n_signal, seed)
    _pythia()  # absent: say so before any work
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder)
        paths = write_parts(place, _keys(jobs, seed, m_jj_min), write_chunk, (seed, m_jj_min),
                            workers=workers, scheduler=scheduler, done=done)
        tables = {kind: [np.load(path / "events.npy") for path, job in zip(paths, jobs) if job[0] == kind]
                  for kind in ("qcd", "signal")}
    table = torch.empty(len(is_signal), len(COLUMNS), dtype=torch.float64)
    for kind, rows in (("qcd", ~is_signal), ("signal", is_signal)):
        if tables[kind]:
            table[rows] = torch.from_numpy(np.concatenate(tables[kind]))
    width = len(COLUMNS) if angle else len(COLUMNS) - 1
    return Dataset.from_arrays(table[:, 1:width], table[:, 0], COLUMNS[1:width], UNITS[1:width],
                               context_names=("m_jj",), context_units="TeV",
                               provenance={"simulator": "sundog.simulate.pythia.pythia_dijets", "seed": seed,
                                           "m_jj_min": m_jj_min, "n_background": n_background, "n_signal": n_signal,
                                           "called": "LHCO-like"})


def forget_pieces(folder: str | Path, n_background: int, n_signal: int, seed: int, *, m_jj_min: float = 3.0) -> None:
    """Delete the pieces that ``pythia_dijets`` left in the folder for these arguments, and the folder if nothing else
    is in it: what somebody else put there stays.
    """
    for key_ in _keys(_all_jobs(n_background, n_signal), seed, m_jj_min):
        with suppress(OSError):
            (Path(folder) / key_ / "events.npy").unlink()
            (Path(folder) / key_).rmdir()
    with suppress(OSError):
        Path(folder).rmdir()


def write_chunk(path: Path, key: str, shared: tuple[int, float]) -> None:
    """Fill the folder of one piece, ``qcd_0007_1000_...``: its events in ``events.npy``, float64 (n, 6)."""
    kind, index, n = key.split("_")[:3]
    seed, m_jj_min = shared
    kept, count = [], 0
    for particles in collisions(kind, _stream(seed, kind, int(index)), m_jj_min):
        table = jet_table(particles)
        kept.append(table[table[:, 0] > m_jj_min])
        count += len(kept[-1])
        if count >= int(n):
            break
    np.save(path / "events.npy", np.concatenate(kept)[: int(n)])


def collisions(kind: str, seed: int, m_jj_min: float = 3.0, batch: int = BATCH) -> Iterator[np.ndarray]:
    """Collisions without end as the detector sees them: (batch, k, 3) pT [GeV], eta, phi, zero padded.

    kind : ``qcd``, ``signal``, or ``signal-PRONGS-MASS-HEAVY-LIGHT`` of another ``Resonance``
    """
    process, *of = kind.split("-")
    one_of(process, ("qcd", "signal"), "process")
    signal = Resonance(float(of[1]), float(of[2]), float(of[3]), int(of[0])) if of else Resonance()
    module, ak = _pythia()
    pythia = module.Pythia("", False)
    for line in (*_COMMON, f"Random:seed = {seed}", *(_qcd(m_jj_min) if process == "qcd" else signal.settings())):
        if not pythia.readString(line):
            raise OptionError("Pythia does not know a setting", got=line, expected="version 8.317",
                              do="pip install pythia8mc==8.317.2")
    pythia.init()
    generator = numpy_stream(seed, "detector", kind)
    charged: dict[int, bool] = {}
    while True:
        record = pythia.nextBatch(batch).prt
        final = record[(record.status > 0)]
        identity = np.abs(ak.to_numpy(ak.flatten(final.id)))
        for new in set(np.unique(identity).tolist()) - set(charged):
            charged[new] = pythia.particleData.charge(new) != 0
        p = np.stack([ak.to_numpy(ak.flatten(final.p[name])) for name in ("px", "py", "pz", "e")], 1)
        event = np.repeat(np.arange(len(final)), ak.to_numpy(ak.num(final)))
        has_charge = np.array([charged[int(i)] for i in identity])
        yield detected(p, identity, has_charge, event, generator)


def detected(p: np.ndarray, identity: np.ndarray, has_charge: np.ndarray, event: np.ndarray,
             generator: np.random.Generator) -> np.ndarray:
    """What a light detector sees of stable particles: (events, k, 3) pT [GeV], eta, phi, massless, zero padded.

    Tracks to |eta| = 2.5 with an efficiency of 0.95 (0.85 outside 1.5) above 1 GeV, 0.7 (0.6) below, and none below
    0.1 GeV; photons and electrons in cells of 0.0174, hadrons without a track in cells of 0.087, to |eta| = 5. Energies
    are smeared by sqrt((a / sqrt E)^2 + c^2): a = 0.05, c = 0.005 for photons, a = 1, c = 0.05 for hadrons; tracks by
    sqrt(0.01^2 + (10^-4 pT)^2), or like hadrons where these are better.

    Parameters
    ----------
    p : (n, 4) px, py, pz, E in GeV; identity : (n,) |PDG id|; has_charge : (n,); event : (n,) 0, 1, 2 ... ascending
    """
    pt = np.hypot(p[:, 0], p[:, 1])
    eta, phi = np.arcsinh(p[:, 2] / np.maximum(pt, 1e-9)), np.arctan2(p[:, 1], p[:, 0])
    seen = (np.abs(eta) < 5) & ~np.isin(identity, _LEFT_OUT)
    pt, eta, phi, identity, event, has_charge = (part[seen] for part in (pt, eta, phi, identity, event, has_charge))
    inner = np.abs(eta) < 1.5
    efficiency = np.where(pt > 1, np.where(inner, 0.95, 0.85), np.where(inner, 0.7, 0.6))
    track = has_charge & (np.abs(eta) < 2.5) & (pt > 0.1) & (generator.uniform(size=len(pt)) < efficiency)
    light = np.isin(identity, (11, 22))
    energy = np.maximum(pt * np.cosh(eta), 1e-3)
    shower = np.where(light, np.hypot(0.05 / energy**0.5, 0.005), np.hypot(1 / energy**0.5, 0.05))
    spread = np.where(track, np.minimum(np.hypot(0.01, 1e-4 * pt), shower), shower)
    # A logarithm keeps energies positive where a soft hadron is smeared by more than itself.
    pt = pt * np.exp(spread * generator.normal(size=len(pt)) - 0.5 * spread**2)
    cell = np.where(light, 0.0174, 0.087)
    eta, phi = (np.where(track, x, (np.floor(x / cell) + 0.5) * cell) for x in (eta, phi))
    return _by_event(np.stack([pt, eta, phi], 1), event, int(event[-1]) + 1 if len(event) else 0)


def _by_event(rows: np.ndarray, event: np.ndarray, n: int) -> np.ndarray:
    counts = np.bincount(event, minlength=n)
    table = np.zeros((n, int(counts.max(initial=1)), rows.shape[1]))
    table[event, np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)] = rows
    return table


def _qcd(m_jj_min: float) -> tuple[str, ...]:
    return ("HardQCD:all = on", "PhaseSpace:pTHatMin = 1100.", f"PhaseSpace:mHatMin = {0.9 * GEV * m_jj_min:g}")


def _narrow(identity: int, mass: float) -> tuple[str, ...]:
    """A particle of another mass [TeV], to quarks."""
    m = GEV * mass
    return (f"{identity}:m0 = {m:g}", f"{identity}:mMin = {(1 - _REACH) * m:g}",
            f"{identity}:mMax = {(1 + _REACH) * m:g}", f"{identity}:doForceWidth = on",
            f"{identity}:mWidth = {_WIDTH * m:g}", f"{identity}:onMode = off", f"{identity}:onIfAny = 1 2 3 4 5")


def _all_jobs(n_background: int, n_signal: int) -> list[tuple[str, int, int]]:
    """(kind, index, size) of every piece of background, then of signal."""
    return [job for kind, n in (("qcd", n_background), ("signal", n_signal))
            for job in _jobs(kind, at_least(n, 0, f"number of {kind} events"))]


def _keys(jobs: list[tuple[str, int, int]], seed: int, m_jj_min: float) -> list[str]:
    """Names of the folders of the pieces."""
    return [f"{kind}_{i:04d}_{n}_{seed}_{m_jj_min:g}" for kind, i, n in jobs]


def _jobs(kind: str, n: int) -> list[tuple[str, int, int]]:
    """(kind, index, size) of every piece."""
    return [(kind, i, min(CHUNK, n - start)) for i, start in enumerate(range(0, n, CHUNK))]


def _stream(seed: int, kind: str, index: int) -> int:
    """Seed of one piece for Pythia, which takes 1 to 900,000,000."""
    return 1 + key(seed, "pythia", kind, index) % 900_000_000


def _pythia() -> tuple[Any, Any]:
    return optional("pythia8mc", "hep"), optional("awkward", "hep")
