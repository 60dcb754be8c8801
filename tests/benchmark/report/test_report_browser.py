"""The report's page in a real browser: images, tables and texts as they appear on the screen."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium")
pytest.importorskip("matplotlib")

from report_samples import ATTACK, EXTRA, GRAY, fabricate
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tomopy_ganrec.benchmark.report.write import write_report

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1 "
    "--force-color-profile=srgb"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    results = fabricate(tmp_path_factory.mktemp("report") / "run", images=("shale-180", "foam-120", "tooth-0to120"))
    write_report(results, EXTRA)
    return (results.folder / "report.html").as_uri()


def screen(driver, width, height, scheme="light"):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", dict(features=[dict(name="prefers-color-scheme", value=scheme)])
    )


@pytest.fixture
def page(driver, address):
    """The page, freshly opened, scrolled to its images; nothing may go wrong in its scripts."""
    screen(driver, 1280, 900)
    driver.get_log("browser")
    driver.get(address)
    choose(driver, "case", "180°, shale, pixel, 32², noise-free, slice 0, object 3")
    driver.execute_script("document.getElementById('viewer').scrollIntoView()")
    yield driver
    assert driver.get_log("browser") == []


def choose(driver, name, text):
    Select(driver.find_element(By.ID, name)).select_by_visible_text(text)


def caption(driver, side):
    return driver.find_element(By.ID, f"{side}-caption").text.split("\n")


def settled(driver):
    """Wait until both images are decoded and painted."""
    driver.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.querySelectorAll('.stage img')].map(i => i.decode()))"
        ".then(() => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def seen(driver):
    """The stage as it is on the screen, without its bright top line: (rows, columns, 3)."""
    settled(driver)
    with Image.open(io.BytesIO(driver.find_element(By.ID, "stage").screenshot_as_png)) as shot:
        pixels = np.asarray(shot.convert("RGB")).astype(int)
    return pixels[len(pixels) // 8 :]


def assert_shows(driver, left, right, at):
    """Grey `left` up to the fraction `at` of the width, `right` from there on."""
    pixels = seen(driver)
    width = pixels.shape[1]
    quarter = pixels[: len(pixels) // 4]  # above the handle
    for gray, part in (
        (left, quarter[:, : round(at * width) - 4]),
        (right, quarter[:, round(at * width) + 4 :]),
    ):  # 4: the line and its shadow
        assert part.shape[1] > 20
        assert np.abs(part - gray * 255).max() <= 1, (gray, part.min(), part.max())  # one grey level of rounding
    line = quarter[:, round(at * width) - 2 : round(at * width) + 2]
    assert (line == 255).all(axis=2).any(axis=1).all()  # the divider is a white line from top to bottom


def drag(driver, start, end, kind=interaction.POINTER_MOUSE):
    """Press at a fraction of the stage's width, move to another and let go."""
    box = driver.execute_script(
        "const b = document.getElementById('stage').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    actions = ActionBuilder(driver, mouse=PointerInput(kind, f"a {kind}"), duration=50)
    pointer = actions.pointer_action
    pointer.move_to_location(round(box[0] + start * box[2]), round(box[1] + box[3] / 2)).pointer_down()
    pointer.move_to_location(round(box[0] + (start + end) / 2 * box[2]), round(box[1] + box[3] / 2))
    pointer.move_to_location(round(box[0] + end * box[2]), round(box[1] + box[3] / 2)).pointer_up()
    actions.perform()


def test_opens_on_truth_and_ganrec(page):
    assert caption(page, "left") == ["truth"] and caption(page, "right") == ["GANrec, seed 0", "MSSIM 0.9000"]
    assert_shows(page, GRAY["truth"], GRAY["ganrec"], 0.5)


@pytest.mark.parametrize("kind", [interaction.POINTER_MOUSE, interaction.POINTER_TOUCH])
def test_dragging_moves_what_is_shown(page, kind):
    for end in (0.2, 0.75):
        drag(page, 0.5, end, kind)
        assert_shows(page, GRAY["truth"], GRAY["ganrec"], end)
        assert abs(float(page.find_element(By.ID, "position").get_property("value")) - 100 * end) <= 1  # steps of 1 %


def test_moving_without_pressing_changes_nothing(page):
    stage = page.find_element(By.ID, "stage")
    ActionChains(page, duration=50).move_to_element(stage).move_by_offset(-100, 0).perform()
    assert_shows(page, GRAY["truth"], GRAY["ganrec"], 0.5)


def test_dragging_over_the_edge_stops_there(page):
    drag(page, 0.5, -0.01)
    assert (
        np.abs(seen(page)[:100, 20:] - GRAY["ganrec"] * 255).max() <= 1
    )  # one grey level of rounding; nothing is left of the truth
    drag(page, 0.5, 1.01)
    assert np.abs(seen(page)[:100, :-20] - GRAY["truth"] * 255).max() <= 1


def test_keyboard_moves_the_divider(page):
    position = page.find_element(By.ID, "position")
    assert position.aria_role == "slider" and "divider" in position.accessible_name
    position.send_keys(Keys.ARROW_RIGHT * 10)
    assert_shows(page, GRAY["truth"], GRAY["ganrec"], 0.6)
    position.send_keys(Keys.ARROW_LEFT * 30)
    assert_shows(page, GRAY["truth"], GRAY["ganrec"], 0.3)
    position.send_keys(Keys.HOME)
    assert position.get_property("value") == "0"


def test_choosing_methods_changes_image_and_caption(page):
    choose(page, "left", "gridrec")
    choose(page, "right", "MLEM, 200")
    assert caption(page, "left") == ["gridrec", "MSSIM 0.5000"] and caption(page, "right") == [
        "MLEM, 200",
        "MSSIM 0.7000",
    ]
    assert page.find_element(By.ID, "before").get_attribute("alt") == "left: gridrec"
    assert_shows(page, GRAY["gridrec"], GRAY["astra-mlem"], 0.5)


def test_another_case_keeps_the_chosen_methods(page):
    choose(page, "right", "MLEM, 200")
    choose(page, "case", "120°, foam, pixel, 32², 1e5 photons, slice 0, object 3")
    assert caption(page, "right") == ["MLEM, 200", "MSSIM 0.6000"]
    assert_shows(page, GRAY["truth"], GRAY["astra-mlem"] - 0.1, 0.5)


def test_a_scan_is_set_beside_its_full_range(page):
    choose(page, "case", "0–120°, tooth, measured, 32², slice 7")
    assert caption(page, "left") == ["GANrec, full range"] and caption(page, "right") == ["GANrec"]
    assert not page.find_element(By.ID, "maps").is_displayed()
    pixels = seen(page)
    half = pixels.shape[1] // 2
    assert (
        pixels[:, : half - 30].mean() > 1.6 * pixels[:, half + 30 :].mean()
    )  # uniform noise, and half of it; 1.6: two patches of noise


def test_ssim_maps(page):
    page.find_element(By.ID, "maps").click()
    pixels = seen(page)
    truth, ganrec = pixels[200, 50], pixels[200, -50]
    assert (
        np.ptp(truth) == 0 and np.ptp(ganrec) > 30
    )  # grey, and a colour: 0 and 0.8 are not alike, viridis' dark violet
    assert page.find_element(By.ID, "scale").is_displayed()
    page.find_element(By.ID, "maps").click()
    assert_shows(page, GRAY["truth"], GRAY["ganrec"], 0.5)


def column(page, k, table=0):
    rows = "[...document.querySelectorAll('table')[arguments[0]].tBodies[0].rows].filter(row => !row.hidden)"
    return page.execute_script(f"return {rows}.map(row => row.cells[arguments[1]].innerText)", table, k)


def test_tables_are_sorted_by_a_click_or_a_key(page):
    heads = page.find_elements(By.CSS_SELECTOR, "table:first-of-type th")[:7]
    assert [head.text.split("\n")[0] for head in heads] == [
        "object",
        "noise",
        "angular range",
        "gridrec",
        "MLEM, 200",
        "GANrec",
        "TV_best|* †",
    ]
    assert column(page, 2) == ["180°", "120°", "51 over 70°"] * 2
    heads[3].find_element(By.TAG_NAME, "button").click()
    assert heads[3].get_attribute("aria-sort") == "ascending"
    assert [text.split("\n")[0] for text in column(page, 3)] == [
        "0.2100",
        "0.4000",
        "0.4100",
        "0.5100",
        "failed",
        "–",
    ]  # no numbers last
    heads[3].find_element(By.TAG_NAME, "button").click()
    assert heads[3].get_attribute("aria-sort") == "descending"
    assert [text.split("\n")[0] for text in column(page, 3)] == ["0.5100", "0.4100", "0.4000", "0.2100", "failed", "–"]
    heads[2].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert column(page, 2) == ["51 over 70°"] * 2 + ["120°"] * 2 + ["180°"] * 2  # by degrees, not by the alphabet
    assert heads[3].get_attribute("aria-sort") == "none"


def test_filters(page):
    filters = {
        select.get_attribute("data-filter"): Select(select)
        for select in page.find_elements(By.CSS_SELECTOR, "[data-filter]")
    }
    filters["object"].select_by_visible_text("foam")
    assert (
        column(page, 0) == ["foam"] * 3
        and page.find_elements(By.CSS_SELECTOR, "tr[data-object=shale]:not([hidden])") == []
    )
    assert any(
        note.is_displayed() for note in page.find_elements(By.CLASS_NAME, "nothing")
    )  # the table of scans is empty and says so
    filters["noise"].select_by_visible_text("noise-free")
    assert column(page, 0) == []
    filters["object"].select_by_visible_text("all")
    assert column(page, 0) == ["shale"] * 3
    assert (
        len(page.find_elements(By.CSS_SELECTOR, "tr[data-object=tooth]:not([hidden])")) == 4
    )  # scans have no choice of noise


def test_texts_are_shown_and_not_run(page):
    assert page.title == EXTRA["title"] and page.find_element(By.TAG_NAME, "h1").text == EXTRA["title"]
    assert page.find_element(By.CSS_SELECTOR, "#failures pre").text == ATTACK
    assert page.execute_script("return document.scripts.length") == 2


@pytest.mark.parametrize("width, height", [(360, 740), (1440, 900), (2560, 1440)])
def test_fits_the_screen(page, width, height):
    screen(page, width, height)
    assert page.execute_script("return innerWidth") == width
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    box = page.execute_script("return document.getElementById('stage').getBoundingClientRect().toJSON()")
    assert box["height"] <= 0.9 * height and box["height"] >= min(
        0.6 * height, 0.85 * width
    )  # all of it on the screen, and most of the screen
    assert abs(box["width"] - box["height"]) < 1  # square pixels; less than one of rounding
    wide = page.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).length"
    )
    assert (wide > 0) == (width == 360)  # there tables scroll by themselves
    drag(page, 0.5, 0.25)
    assert_shows(page, GRAY["truth"], GRAY["ganrec"], 0.25)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(page, scheme):
    screen(page, 1280, 900, scheme)
    script = """
        const style = query => getComputedStyle(document.querySelector(query));
        const of = (query, what) => style(query)[what].match(/[0-9.]+/g).slice(0, 3).map(Number);
        return [['body', 'body'], ['.legend', 'body'], ['td small', 'body'], ['td .failed', 'body'], ['td b', 'body'],
                ['select', 'select'], ['th button', 'th']]
            .map(([text, ground]) => [of(text, 'color'), of(ground, 'backgroundColor')])"""

    def luminance(color):  # WCAG 2
        linear = [c / 255 / 12.92 if c <= 0.03928 * 255 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    pairs = [(luminance(text), luminance(ground)) for text, ground in page.execute_script(script)]
    assert (pairs[0][1] > 0.5) == (scheme == "light")
    assert min((max(pair) + 0.05) / (min(pair) + 0.05) for pair in pairs) >= 4.5  # WCAG 2, level AA
