"""Maps, pictures, skies and radio mosaics among the inputs of doors.py, which runs them."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from doors_data import MAP, RNG, SKY, Case, half

import sundog
from sundog.data.sky.healpix import pixelisation, read_healpix, reordered
from sundog.tasks.radio import read_catalogue, read_cutouts, read_mosaic
from sundog.tasks.radio.cutouts import cut


def images() -> Iterator[Case]:
    """FITS images and tables, pictures."""
    def image(x: np.ndarray = MAP, name: str = "a.fits", how: dict[str, Any] | None = None, **cards: Any
              ) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            unit = fits.PrimaryHDU(x)
            unit.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 0.5, **cards})
            unit.writeto(folder / "t.fits")
            raw = (folder / "t.fits").read_bytes()
            (folder / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
            return sundog.load(folder / name, **(how or {}))
        return make

    def same(data: Any) -> bool:
        return bool(np.array_equal(data.values[0].numpy(), MAP))

    group = "FITS and pictures"
    for name in ("a.fits", "a.FITS", "a.fit", "a.fts", "a.fits.gz", "a.fit.gz"):
        yield group, name, image(name=name), same
    packed = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(MAP, compression_type="GZIP_2", quantize_level=0)])
    yield group, "a.fits.fz", lambda p: (packed.writeto(p / "a.fits.fz"), sundog.load(p / "a.fits.fz"))[1], same
    m = 1 / 60
    for label, cards, right in (
            ("CDELT", {"CDELT1": -m, "CDELT2": m}, 1), ("CD", {"CD1_1": -m, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": m}, 1),
            ("rotated CD", {"CD1_1": 0.0, "CD1_2": m, "CD2_1": m, "CD2_2": 0.0}, 1),
            ("PC in degrees", {"PC1_1": -m, "PC2_2": m, "CDELT1": 1.0, "CDELT2": 1.0}, 1),
            ("arcsec", {"CDELT1": -30.0, "CDELT2": 30.0, "CUNIT1": "arcsec", "CUNIT2": "arcsec"}, 0.5),
            ("rad", {"CDELT1": 1e-3, "CDELT2": 1e-3, "CUNIT1": "rad", "CUNIT2": "rad"}, 3.437746770784939),
            ("CDELT 0", {"CDELT1": 0.0, "CDELT2": 0.0}, None), ("CDELT1 alone", {"CDELT1": -m}, None),
            ("not square", {"CDELT1": -m, "CDELT2": 2 * m}, None)):
        yield group, f"pixel size: {label}", image(**cards), lambda d, right=right: (
            d.pixel_arcmin is None and bool(d.provenance["notes"]) if right is None
            else abs((d.pixel_arcmin or 0) - right) < 1e-9)
    cube = RNG.normal(size=(3, 24, 30)).astype("f4")
    for kind, first, names in (("STOKES", 1.0, ("I", "Q", "U")), ("FREQ", 1.4e9, None)):
        yield group, f"a cube of {kind}", image(cube, CTYPE3=kind, CRVAL3=first, CDELT3=1.0, CRPIX3=1.0), \
            lambda d, names=names: d.values.shape == (1, 3, 24, 30) and (names is None or d.names == names)
    yield group, "one Stokes parameter", image(cube, how={"columns": ["Q"]}, CTYPE3="STOKES", CRVAL3=1.0, CDELT3=1.0), \
        lambda d: bool(np.array_equal(d.values.squeeze().numpy(), cube[1]))
    yield group, "axes of length 1", image(MAP[None, None], CTYPE3="FREQ", CTYPE4="STOKES"), \
        lambda d: d.values.shape == (1, 1, 24, 30)
    yield group, "a stack without names", image(cube), lambda d: d.values.shape == (3, 24, 30)
    yield group, "scaled integers", image((MAP * 100).astype("i2"), BSCALE=0.5, BZERO=3.0), \
        lambda d: bool(np.allclose(d.values[0].numpy(), (MAP * 100).astype("i2") * 0.5 + 3))
    yield group, "BLANK", image((MAP * 100).astype("i2"), BLANK=int((MAP * 100).astype("i2")[0, 0])), "mask="
    yield group, "NaN", image(np.where(MAP > 1, np.nan, MAP)), "mask="
    yield group, "cut in the data", lambda p: (image()(p), half(p, "a.fits", (p / "a.fits").read_bytes()),
                                               sundog.load(p / "a.fits")), "cannot read"
    for label, column, right in (
            ("unsigned", fits.Column("a", "I", bzero=32768, array=np.array([1, 65535], np.uint16)), [1, 65535]),
            ("doubles", fits.Column("a", "D", array=[1.5, 2.5]), [1.5, 2.5])):
        yield group, f"table: {label}", _fits_table(column), lambda d, right=right: d.values[:, 0].tolist() == right
    yield group, "table: TNULL", _fits_table(fits.Column("a", "J", null=-9, array=np.array([1, -9]))), "1 of 2 rows"
    yield group, "table: text", _fits_table(fits.Column("a", "4A", array=["x", "y"])), "not numbers"
    yield group, "table: vectors", _fits_table(fits.Column("a", "2E", array=np.ones((2, 2)))), "not numbers"
    yield from _pictures()


def _fits_table(column: Any) -> Callable[[Path], Any]:
    return lambda p: (fits.BinTableHDU.from_columns([column]).writeto(p / "t.fits"), sundog.load(p / "t.fits"))[1]


def _pictures() -> Iterator[Case]:
    from PIL import Image

    rgb = RNG.integers(0, 256, (24, 30, 3), np.uint8)

    def picture(name: str, mode: str) -> Callable[[Path], Any]:
        return lambda p: (Image.fromarray(rgb).convert(mode).save(p / name), sundog.load(p / name))[1]

    colour, grey = (1, 3, 24, 30), (1, 24, 30)
    for name, mode, shape in (("a.png", "RGB", colour), ("a.png", "L", grey), ("a.tif", "RGB", colour),
                              ("a.jpg", "RGB", colour), ("a.bmp", "L", grey), ("a.png", "RGBA", colour),
                              ("a.png", "P", colour), ("a.png", "LA", grey)):
        yield "FITS and pictures", f"{name}, {mode}", picture(name, mode), lambda d, shape=shape: \
            tuple(d.values.shape) == shape and bool(d.provenance["notes"])
    yield "FITS and pictures", "a folder of pictures", lambda p: ([Image.fromarray(rgb[::k]).resize((30, 24)).save(
        p / name) for k, name in ((1, "a.png"), (2, "b.tif"), (3, "c.png"))], sundog.load(p))[1], \
        lambda d: tuple(d.values.shape) == (3, 3, 24, 30) and d.names == ("R", "G", "B")
    yield "FITS and pictures", "half a picture", lambda p: (picture("a.png", "RGB")(p), half(
        p, "a.png", (p / "a.png").read_bytes()), sundog.load(p / "a.png")), "picture"


def skies() -> Iterator[Case]:
    """HEALPix files, mosaics, cut-outs, catalogues."""
    def sky(columns: dict[str, np.ndarray], field: Any = 0, **cards: Any) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            found = [fits.Column(k, {"i": "J", "f": "E"}[v.dtype.kind], unit="K", array=v) for k, v in columns.items()]
            unit = fits.BinTableHDU.from_columns(found)
            unit.header.update({"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": 8, **cards})
            unit.writeto(folder / "p.fits")
            return read_healpix(folder / "p.fits", field)
        return make

    group = "skies"
    pixels = np.arange(100, 300)[::-1]
    for name in ("PIXEL", "PIX", "HPXPIXEL"):
        yield group, f"partial, {name}", sky({name: pixels, "T": SKY[0, pixels]}, INDXSCHM="EXPLICIT"), \
            lambda m: m.observed.sum() == 200 and np.array_equal(m.values[100:300], SKY[0, 100:300])
    yield group, "partial, pixels out of range", sky({"PIX": pixels + 999, "T": SKY[0, pixels]}, INDXSCHM="EXPLICIT"), \
        "expected 0 to 767"
    yield group, "partial, a pixel twice", sky({"PIX": pixels // 2, "T": SKY[0, pixels]}, INDXSCHM="EXPLICIT"), "twice"
    for word, frame in (("C", "icrs"), ("CEL", "icrs"), ("EQUATORIAL", "icrs"), ("ICRS", "icrs"), ("G", "galactic"),
                        ("GALACTIC", "galactic"), ("E", "ecliptic"), ("", "")):
        yield group, f"COORDSYS {word!r}", sky({"T": SKY[0]}, COORDSYS=word), lambda m, frame=frame: m.frame == frame
    yield group, "NESTED", sky({"T": reordered(SKY[0], "NESTED")}, ORDERING="NESTED"), \
        lambda m: np.array_equal(m.values, SKY[0])
    yield group, "no ORDERING", sky({"T": SKY[0]}, ORDERING=""), "ORDERING"
    yield group, "U of IAU", sky({"I": SKY[0], "Q": SKY[1], "U": SKY[2]}, "U", POLCCONV="IAU"), \
        lambda m: np.array_equal(m.values, -SKY[2])
    yield group, "UNSEEN and NaN", sky({"T": np.where(SKY[0] > 1, np.float32(-1.6375e30), np.where(
        SKY[0] < -1, np.nan, SKY[0])).astype("f4")}), lambda m: (m.observed == (abs(SKY[0]) <= 1)).all()
    yield group, "a .npy vector", lambda p: (np.save(p / "a.npy", SKY[0]), read_healpix(p / "a.npy", unit="K"))[1], \
        lambda m: np.array_equal(m.values, SKY[0]) and m.unit == "K"
    yield group, "as a file of load", lambda p: (sky({"T": SKY[0]}, COORDSYS="G")(p), sundog.load(p / "p.fits"))[1], \
        lambda d: np.array_equal(d.values.squeeze(), SKY[0]) and d.provenance["sphere"]["frame"] == "galactic" \
        and d.units == ("K",)
    yield group, "a CAR map as astropy reads it", _car, lambda found: np.allclose(*found, atol=0.1)
    yield group, "another NSIDE", sky({"T": SKY[0]}, NSIDE=16), "contradicts itself"
    yield from _radio()


def _car(folder: Path) -> Any:
    """Where astropy finds the pixel that was set, beyond 180 degrees, and where it was set."""
    from astropy.wcs import WCS

    from sundog.data.sky.car import car_map, write_car

    sky = np.zeros(768)
    sky[pixelisation(8).vec2pix(np.array([[-0.05, -0.87, -0.48]]))] = 1
    path = write_car(folder / "c.fits", car_map(sky, 120.0), "K", "icrs")
    image = fits.getdata(path)
    y, x = np.unravel_index(image.argmax(), image.shape)
    seen = WCS(fits.getheader(path)).pixel_to_world(x, y)
    place = pixelisation(8).pix2vec(np.flatnonzero(sky))[0]
    return seen.cartesian.xyz.value, place


def _radio() -> Iterator[Case]:
    base = {"CDELT1": -1e-3, "CDELT2": 1e-3, "CRPIX1": 15.0, "CRPIX2": 12.0, "CRVAL1": 180.0, "CRVAL2": 45.0,
            "BUNIT": "JY/BEAM", "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}

    def mosaic(read: Callable[[Path], Any], **cards: Any) -> Callable[[Path], Any]:
        def make(folder: Path) -> Any:
            x = np.zeros((24, 30), "f4")
            x[16, 20] = 1
            fits.PrimaryHDU(x, fits.Header(list({**base, **cards}.items()))).writeto(folder / "m.fits")
            return read(folder / "m.fits")
        return make

    def found(path: Path) -> float:
        from astropy.wcs import WCS

        place = WCS(fits.getheader(path)).pixel_to_world(20, 16).icrs
        taken = cut(read_mosaic(path), place.ra.deg, place.dec.deg, 18.0)
        return 0.0 if taken is None else float(taken.values[2, 2])

    group = "radio"
    for label, cards in (("J2000", {}), ("ICRS", {"RADESYS": "ICRS"}), ("B1950", {"RADESYS": "FK4", "EQUINOX": 1950.0}),
                         ("galactic", {"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN"})):
        yield group, f"a source in a mosaic, {label}", mosaic(found, **cards), lambda peak: peak == 1000
    for unit, factor in (("Jy beam-1", 1e3), ("Jy/bm", 1e3), ("mJy/beam", 1), ("uJy/beam", 1e-3), ("MJy/beam", 1e9)):
        yield group, f"BUNIT {unit}", mosaic(read_mosaic, BUNIT=unit), lambda m, factor=factor: bool(
            np.isclose(m.values.max(), factor))
    yield group, "BUNIT MJY/BEAM", mosaic(read_mosaic, BUNIT="MJY/BEAM"), "milli or mega"
    yield group, "separated maps keep the coordinates", mosaic(lambda p: sundog.load(
        sundog.load(p).save(p.with_name("s.fits")))), lambda d: "RA---SIN" in d.provenance["wcs"]
    yield group, "BUNIT K", mosaic(read_mosaic, BUNIT="K"), "not a brightness"
    yield group, "a unit against BUNIT", mosaic(lambda p: read_mosaic(p, unit="mJy/beam")), "another unit"
    yield group, "no coordinates", mosaic(read_mosaic, CTYPE1="", CTYPE2=""), "no celestial coordinates"

    def cutouts(p: Path) -> Any:
        for name in ("a.fits", "b.FITS", "c.fits.gz"):
            fits.PrimaryHDU(MAP, fits.Header(list({**base, "OBJECT": "field"}.items()))).writeto(p / name)
        return [taken.name for taken in read_cutouts(p)]

    yield group, "cut-outs of one OBJECT", cutouts, lambda names: names == ["a", "b", "c"]

    def rows(content: str) -> Callable[[Path], Any]:
        return lambda p: ((p / "c.csv").write_text(content), read_catalogue(p / "c.csv"))[1]

    for ra, dec in (("239.5", "1.25"), ("-120.5", "1.25"), ("15:58:00.0", "+01:15:00"), ("15h58m00s", "1d15m")):
        yield group, f"position {ra}", rows(f"name,RA,DEC,Total_flux [Jy]\nS,{ra},{dec},0.01\n"), lambda c: \
            np.allclose([v[0] for v in c.position()], [239.5, 1.25]) and np.isclose(c.flux_mjy[0], 10)
    yield group, "no position", rows("name,flux\nS,1\n"), "no positions"
    yield group, "text for a position", rows("RA,DEC\nhere,there\n"), "no position"
    yield group, "a flux in K", rows("RA,DEC,Total_flux [K]\n1,2,3\n"), "another kind of unit"
