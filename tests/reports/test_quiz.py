"""The quiz is fair, says what a score is worth, hides its answers, and plays in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest

from sundog import Dataset, cli
from sundog.errors import DataError, FileError, OptionError, SampleSizeError, ShapeError
from sundog.reports.quiz import Quiz, brightness, make_quiz, pooled_score, scrambled

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
LEFT, RIGHT = "\ue012", "\ue014"  # arrow keys, in WebDriver's coding
WINDOW = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,900")


def images(n: int, seed: int, offset: float = 0.0) -> Dataset:
    g = torch.Generator().manual_seed(seed)
    return Dataset.from_arrays(offset + torch.rand(n, 12, 10, generator=g), units="mJy/beam")


REAL, FAKE = images(40, 0), images(30, 1)


def game(right: list[bool], seed: int = 0, number: int = 1) -> dict[str, Any]:
    return {"sundog_quiz": 1, "quiz": {"seed": seed}, "game": number,
            "rounds": [{"round": i + 1, "right": r} for i, r in enumerate(right)]}


# -- the game --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["pairs", "single"])
def test_the_coins_are_fair_and_independent(mode: str) -> None:
    coins = np.array([make_quiz(REAL, FAKE, mode=mode, rounds=30, seed=seed).truth for seed in range(25)])
    sigma = 0.5 / np.sqrt(coins.size)
    assert abs(coins.mean() - 0.5) < 4 * sigma
    # Independent coins: the number of fakes scatters between games like a binomial (a fixed number would give 0).
    assert coins.sum(1).var() == pytest.approx(30 / 4, rel=4 * np.sqrt(2 / 24))
    assert len({tuple(game) for game in coins}) == 25


def test_same_seed_same_page_and_other_data_other_coins() -> None:
    one = make_quiz(REAL, FAKE, rounds=20, seed=3)
    assert one == make_quiz(REAL, FAKE, rounds=20, seed=3)
    assert make_quiz(images(40, 5), FAKE, rounds=20, seed=3).truth != one.truth
    assert make_quiz(REAL, FAKE, mode="single", rounds=20, seed=3).truth != one.truth


@pytest.mark.parametrize("mode", ["pairs", "single"])
def test_no_image_is_shown_twice(mode: str) -> None:
    quiz = make_quiz(REAL, FAKE, mode=mode, rounds=30)
    for kind in (0, 1):
        rows = [row[kind] for row in quiz.rows] if mode == "pairs" else [
            row[0] for row, t in zip(quiz.rows, quiz.truth) if t == kind]
        assert len(rows) == len(set(rows))


def test_every_tile_shows_the_image_of_its_row() -> None:
    quiz = make_quiz(REAL, FAKE, mode="pairs", rounds=9, stretch="linear", colours="gray")
    tiles = sheet(quiz, 12, 10)
    for i, (truth, (a, b)) in enumerate(zip(quiz.truth, quiz.rows)):
        sides = [REAL.values[a], FAKE.values[b]] if truth == 1 else [FAKE.values[b], REAL.values[a]]
        for side in (0, 1):
            shown = np.flipud(tiles[2 * i + side]).ravel()
            assert np.corrcoef(shown, sides[side].numpy().ravel())[0, 1] > 0.999


def sheet(quiz: Quiz, ny: int, nx: int) -> np.ndarray:
    """Tiles of the page's picture, read back by another reader than the writer."""
    Image = pytest.importorskip("PIL.Image")
    import base64
    import io

    found = re.search(r"base64,([^\"]+)", quiz.html)
    assert found
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("L"))
    lines, columns = picture.shape[0] // ny, picture.shape[1] // nx
    return picture.reshape(lines, ny, columns, nx).swapaxes(1, 2).reshape(-1, ny, nx)


def test_one_brightness_rule_for_real_and_fake() -> None:
    x = torch.rand(6, 9, 9, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(brightness(torch.cat([x, x]))[:6], brightness(torch.cat([x, x]))[6:])
    # A brighter fake stays brighter on one scale, and looks alike with each image on its own scale.
    both = torch.cat([x, 3 * x])
    assert brightness(both)[6:].mean() > 1.2 * brightness(both)[:6].mean()
    apart = brightness(both, scale="image")
    assert np.abs(apart[:6].astype(int) - apart[6:]).max() <= 1
    assert brightness(torch.zeros(2, 3, 3)).max() == 0  # constant images do not divide by zero


def test_the_page_does_not_tell_the_answer() -> None:
    quiz = make_quiz(REAL, FAKE, rounds=20, seed=4)
    facts = json.loads(re.search(r'id="quiz">(.*?)</script>', quiz.html, re.DOTALL)[1])  # type: ignore[index]
    assert not {"truth", "rows"} & set(facts)
    plain = json.dumps({"truth": quiz.truth, "rows": quiz.rows})
    assert plain not in quiz.html and json.dumps(list(quiz.truth)) not in quiz.html
    picture = re.search(r"base64,([^\"]+)", quiz.html)[1]  # type: ignore[index]
    assert facts["answers"] == scrambled(plain, picture)
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", quiz.html)


def test_bad_input_is_explained() -> None:
    with pytest.raises(SampleSizeError, match="too few rounds"):
        make_quiz(REAL[:4], FAKE)
    with pytest.raises(SampleSizeError, match="ask for 30 rounds"):
        make_quiz(REAL, FAKE, rounds=31)
    with pytest.raises(ShapeError, match="differ in size"):
        make_quiz(REAL, Dataset.from_arrays(torch.rand(30, 8, 8)))
    with pytest.raises(ShapeError, match="differ in units"):
        make_quiz(REAL, Dataset.from_arrays(torch.rand(30, 12, 10), units="Jy/beam"))
    with pytest.raises(ShapeError, match="not images"):
        make_quiz(Dataset.from_arrays(torch.rand(30, 3)), FAKE)
    for option in ({"mode": "triples"}, {"scale": "log"}, {"stretch": "sqrt"}, {"colours": "jet"}):
        with pytest.raises(OptionError):
            make_quiz(REAL, FAKE, **option)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="channel"):
        stacked = Dataset.from_arrays(torch.rand(9, 2, 12, 10))
        make_quiz(stacked, stacked, channel=2)


# -- the score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [0, 9, 14, 20])
def test_one_player_is_a_binomial_test(right: int) -> None:
    found = pooled_score([game([i < right for i in range(20)])])
    expected = binomtest(right, 20, 0.5, "greater")
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.interval_95 == pytest.approx(tuple(binomtest(right, 20).proportion_ci(0.95, "exact")), abs=1e-12)


def test_the_page_of_the_documentation_counts_right() -> None:
    text = (Path(__file__).parents[2] / "docs" / "quiz.md").read_text(encoding="utf-8")
    for k in (10, 14, 15, 18):
        found = pooled_score([game([i < k for i in range(20)])])
        low, high = (round(100 * end) for end in found.interval_95)
        assert f"| {k} | {low} to {high} % | {found.p_value:.{1 if k == 18 else 2}g} |" in text
    for n, needed, power in ((20, 15, 62), (40, 26, 95)):
        assert binom.sf(needed - 1, n, 0.5) < 0.05 < binom.sf(needed - 2, n, 0.5)
        assert round(100 * binom.sf(needed - 1, n, 0.75)) == power and f"{power} %" in text


def test_players_who_agree_blindly_prove_nothing() -> None:
    # Ten players who all press "left": right together or wrong together. 14 of 20 rounds is p = 0.058 as for one.
    together = pooled_score([game([i < 14 for i in range(20)])] * 10)
    assert together.p_value == pytest.approx(binom.sf(13, 20, 0.5), rel=1e-12)
    # Independent games add up.
    apart = pooled_score([game([i < 14 for i in range(20)], seed=s) for s in range(10)])
    assert apart.p_value == pytest.approx(binom.sf(139, 200, 0.5), rel=1e-9)


def test_the_pooled_p_value_is_uniform_for_guessers() -> None:
    g = np.random.default_rng(0)
    below = [pooled_score([game(list(g.random(15) < 0.5)) for _ in range(3)]).p_value <= 0.1 for _ in range(150)]
    assert np.mean(below) < 0.1 + 4 * np.sqrt(0.1 * 0.9 / 150)
    knowing = [pooled_score([game(list(g.random(15) < 0.85)) for _ in range(3)]).p_value <= 0.1 for _ in range(20)]
    assert np.mean(knowing) > 0.9


def test_what_is_no_first_game_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileError, match="no saved quiz"):
        pooled_score([{"right": 3}])
    with pytest.raises(FileError, match="repeated game"):
        pooled_score([game([True] * 5, number=2)])
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert cli.main(["quiz", "--score", str(broken)]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_the_word_writes_a_page_and_pools_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    REAL.save(tmp_path / "real.npz")
    FAKE.save(tmp_path / "fake.npz")
    page = tmp_path / "quiz.html"
    files = [str(tmp_path / name) for name in ("real.npz", "fake.npz")]
    assert cli.main(["quiz", *files, "-o", str(page), "--rounds", "8", "--seed", "2"]) == 0
    assert page.read_text() == make_quiz(REAL, FAKE, rounds=8, seed=2).html
    assert cli.main(["quiz", files[0]]) == 2
    answers = tmp_path / "anna.json"
    answers.write_text(json.dumps(game([True] * 9 + [False])))
    capsys.readouterr()
    assert cli.main(["quiz", "--score", str(answers), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["p_value"] == pytest.approx(11 / 1024)


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium and chromedriver are not installed")
    folder = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in WINDOW:
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = folder
    yield driver
    driver.quit()


def opened(browser: Any, folder: Path, **options: Any) -> Quiz:
    quiz = make_quiz(REAL, FAKE, rounds=8, **options)
    (folder / "quiz.html").write_text(quiz.html, encoding="utf-8")
    browser.get((folder / "quiz.html").as_uri())
    browser.execute_script("localStorage.clear()")  # what is kept is shared by all files
    browser.refresh()
    browser.get_log("browser")
    return quiz


def by_id(browser: Any, name: str) -> Any:
    return browser.find_element("id", name)


def saved(browser: Any) -> dict[str, Any]:
    before = set(browser.downloads.iterdir())
    by_id(browser, "save").click()
    for _ in range(100):
        new = [path for path in set(browser.downloads.iterdir()) - before if path.suffix == ".json"]
        if new:
            return json.loads(new[0].read_text(encoding="utf-8"))  # type: ignore[no-any-return]
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


@pytest.mark.slow
def test_a_whole_game_with_the_keyboard(browser: Any, tmp_path: Path) -> None:
    quiz = opened(browser, tmp_path, mode="pairs")
    by_id(browser, "player").send_keys("Anna")
    by_id(browser, "start").send_keys("\n")
    wrong = {2, 5}
    for i, truth in enumerate(quiz.truth):
        choice = 1 - truth if i in wrong else truth
        browser.find_element("tag name", "body").send_keys(RIGHT if choice else LEFT)
        assert by_id(browser, "said").text.startswith("✗" if i in wrong else "✓")
        assert f"is-{'fake' if truth == 0 else 'real'}" in by_id(browser, "choice0").get_attribute("class")
        browser.switch_to.active_element.send_keys("\n")
    assert by_id(browser, "score").text == "6 of 8 right (75 %)"
    assert "p = 0.14" in by_id(browser, "chance").text  # 37 / 256
    assert by_id(browser, "verdict").text == "No evidence that you can tell them apart."
    result = saved(browser)
    assert (result["player"], result["right"], result["n"]) == ("Anna", 6, 8)
    assert result["p_value"] == pytest.approx(37 / 256, rel=1e-9)
    assert [r["real_row"] for r in result["rounds"]] == [row[0] for row in quiz.rows]
    assert pooled_score([result]).interval_95 == pytest.approx(tuple(result["interval_95"]), abs=1e-9)
    assert "answers" not in result["quiz"]


@pytest.mark.slow
def test_a_whole_game_by_touch_without_answers_shown(browser: Any, tmp_path: Path) -> None:
    quiz = opened(browser, tmp_path, mode="single")
    by_id(browser, "feedback").click()
    by_id(browser, "start").click()
    for i, truth in enumerate(quiz.truth):
        assert by_id(browser, "place").text == f"Round {i + 1} of 8"
        assert by_id(browser, "said").text == "" and by_id(browser, "tally").text == ""
        browser.execute_script(  # a finger, not a mouse
            "const e = arguments[0], r = e.getBoundingClientRect();"
            "e.dispatchEvent(new PointerEvent('pointerdown', {pointerType: 'touch', bubbles: true}));"
            "document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2).click();",
            by_id(browser, f"choice{truth}"))
    assert by_id(browser, "score").text == "8 of 8 right (100 %)"
    assert by_id(browser, "verdict").text == "You can tell them apart."
    by_id(browser, "again").click()
    for _ in range(8):
        by_id(browser, "choice0").click()
    assert by_id(browser, "seen").is_displayed()
    with pytest.raises(FileError, match="repeated game"):
        pooled_score([saved(browser)])


@pytest.mark.slow
@pytest.mark.parametrize("width", [1100, 390])
def test_a_game_goes_on_after_a_refresh_and_after_going_back(browser: Any, tmp_path: Path, width: int) -> None:
    browser.set_window_size(width, 900)
    quiz = opened(browser, tmp_path, mode="pairs")
    by_id(browser, "start").click()
    for i, truth in enumerate(quiz.truth):
        assert by_id(browser, "place").text == f"Round {i + 1} of 8"
        by_id(browser, f"choice{truth}").click()
        if i == 2:
            browser.refresh()
        elif i == 4:
            browser.get("about:blank")
            browser.back()
        else:
            by_id(browser, "next").click()
        for _ in range(100):  # until the images are decoded and the game stands where it was
            if by_id(browser, "place").text == f"Round {i + 2} of 8" or i == 7:
                break
            time.sleep(0.02)
            if i == 4 and by_id(browser, "next").is_enabled() and by_id(browser, "next").is_displayed():
                by_id(browser, "next").click()  # the browser had kept the page as it was
    result = saved(browser)
    assert (result["right"], result["game"], len(result["rounds"])) == (8, 1, 8)
    browser.refresh()  # a finished game stays finished, and the next one is the second
    for _ in range(100):
        if by_id(browser, "again").is_displayed():
            break
        time.sleep(0.02)
    assert by_id(browser, "score").text == "8 of 8 right (100 %)"
    by_id(browser, "again").click()
    browser.refresh()
    time.sleep(0.2)
    for truth in quiz.truth:
        by_id(browser, f"choice{truth}").click()
        by_id(browser, "next").click()
    assert saved(browser)["game"] == 2
    assert "game 2" in by_id(browser, "seen").text


def test_equal_images_on_both_sides_are_refused() -> None:
    with pytest.raises(DataError, match="both sides"):
        make_quiz(REAL, REAL)
    shared = Dataset.from_arrays(torch.cat([FAKE.values[1:], REAL.values[:1]]), units="mJy/beam")
    with pytest.raises(DataError, match="1 equal"):
        make_quiz(REAL, shared)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pairs", "single"])
def test_the_browser_asks_nobody_and_complains_of_nothing(browser: Any, tmp_path: Path, mode: str) -> None:
    browser.get_log("performance")
    opened(browser, tmp_path, mode=mode)
    by_id(browser, "start").click()
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
    assert not browser.get_log("browser")
    # The canvas shows the tile: its pixels are not all alike.
    drawn = browser.execute_script("const c = document.querySelector('#play canvas');"
                                   "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)")
    assert len(drawn) == 4 * 12 * 10 and np.std(drawn[::4]) > 10


@pytest.mark.slow
def test_the_page_fits_a_phone(browser: Any, tmp_path: Path) -> None:
    for mode in ("pairs", "single"):
        browser.set_window_size(500, 800)  # the narrowest window of headless Chromium
        opened(browser, tmp_path, mode=mode)
        by_id(browser, "start").click()
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        for name in ("choice0", "choice1"):
            size = by_id(browser, name).size
            assert min(size["width"], size["height"]) >= 44  # what a finger needs
    browser.set_window_size(1200, 900)


@pytest.mark.slow
def test_colours_are_readable(browser: Any, tmp_path: Path) -> None:
    opened(browser, tmp_path)
    colours = browser.execute_script(
        "const s = getComputedStyle(document.documentElement);"
        "return ['ink', 'soft', 'real', 'fake', 'paper', 'panel'].map(n => s.getPropertyValue('--' + n).trim())")
    *texts, paper, panel = [luminance(colour) for colour in colours]
    for text in texts:
        for ground in (paper, panel):
            assert (text + 0.05) / (ground + 0.05) >= 7  # WCAG 2.2, level AAA


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, WCAG 2.2."""
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.slow
@pytest.mark.parametrize("k, n", [(0, 5), (14, 20), (20, 20), (61, 100)])
def test_the_page_counts_like_scipy(browser: Any, tmp_path: Path, k: int, n: int) -> None:
    opened(browser, tmp_path)
    p, (low, high) = browser.execute_script(
        "return [quizStatistics.atLeast(arguments[0], arguments[1]), quizStatistics.interval(...arguments)]", k, n)
    assert p == pytest.approx(binom.sf(k - 1, n, 0.5), rel=1e-9)
    assert (low, high) == pytest.approx(tuple(binomtest(k, n).proportion_ci(0.95, "exact")), abs=1e-9)
