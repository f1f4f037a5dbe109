"""The listening test in a real browser: all tasks by keyboard alone, all by mouse, and the file that is saved.

Needs a Chromium; where there is none the tests skip, or fail with ENVSOUND_REQUIRE_BROWSER=1.
"""

import functools
import http.server
import json
import re
import threading

import pytest
from fakes.browser import Quiet
from fakes.listening import make_page

from envsound.studies.listening.answers import EMOTIONS, read_answers, read_key
from envsound.studies.listening.material import FOLDER, REFERENCE
from envsound.studies.listening.page import PAGE

MOST_KEYS = 40  # Tab presses until something must have the focus


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A tiny page of two clips and two trials, and its address on a loopback server."""
    root = tmp_path_factory.mktemp("site")
    make_page(root)
    (root / "studies").mkdir()
    (root / "studies" / "listening.html").write_text("the book")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser, site):
    """The page, opened by a listener who was never here, with everything it asked for and every error it met."""
    context = browser.new_context(viewport={"width": 900, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(8000)
    opened.asked, opened.errors = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("response", lambda response: response.status < 400 or opened.errors.append(response.url))
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("console", lambda message: message.type != "error" or opened.errors.append(message.text))
    opened.goto(site[1] + PAGE.as_posix())
    yield opened
    context.close()


def heading(page) -> str:
    return page.inner_text("h1")


def begin(page) -> None:
    """Go past the welcome and the first introduction."""
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")


def heard(page, place: int = 0) -> None:
    """Wait until the sound of a play button was heard."""
    page.wait_for_function(
        "place => document.querySelectorAll('button.play')[place].ariaLabel.endsWith('heard')", arg=place
    )


def saved(page, save, tmp_path) -> dict:
    """Return the file that `save` makes the page hand over."""
    with page.expect_download() as waiting:
        save()
    name = waiting.value.suggested_filename
    assert re.fullmatch(r"envsound-listening-[0-9a-f]{12}\.json", name)
    waiting.value.save_as(tmp_path / "answers" / name)
    return json.loads((tmp_path / "answers" / name).read_text(encoding="utf-8"))


def check(value: dict, page, site, tmp_path, quality: int, score: int) -> None:
    """Check a finished file against the key, and that the page asked for nothing but its own files."""
    root, address = site
    answers = read_answers(tmp_path / "answers", read_key(root / FOLDER / "key.json"))
    row = answers.listeners.iloc[0]
    assert (row["n_label"], row["n_fit"], row["n_codec"]) == (2, 2, 2) and row["finished"]
    assert set(answers.label["answer"]) == {"sea_waves"} and answers.label["right"].sum() == 1
    assert set(answers.fit["quality"]) == {quality} and set(answers.fit["fit"]) == {10}
    assert row["n_match"] == 3 and set(answers.match["quality"]) == {quality} and (answers.match["fear"] == 2).all()
    assert answers.match["answer"].nunique() == 1 and answers.match["right"].sum() == 1
    rated = answers.codec.assign(is_reference=answers.codec["condition"] == REFERENCE)
    assert len(rated) == 6 and (rated["score"] == score).all()
    tasks = ["label", "label", "fit", "fit", "match", "match", "match", "codec", "codec"]
    assert [entry["task"] for entry in value["order"]] == tasks
    assert [entry["item"] for entry in value["order"]] == [answer["item"] for answer in value["answers"]]
    assert all(answer["seconds"] > 0 and answer["plays"] for answer in value["answers"])
    assert page.errors == [] and all(url.startswith(address) for url in page.asked if not url.startswith("blob:"))
    assert not [url for url in page.asked if "key" in url]


def tab_to(page, selector: str) -> None:
    """Press Tab until what matches `selector` has the focus."""
    for _ in range(MOST_KEYS):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector}: cannot be reached by Tab")


def test_all_tasks_can_be_done_by_keyboard_alone(page, site, tmp_path):
    press = page.keyboard.press
    tab_to(page, "input[value=headphones]")
    press("Space")
    press("Enter")
    assert heading(page) == "Name the sound"
    press("Enter")
    for _ in range(2):
        press("Space")
        heard(page)
        press("2")
        press("Enter")
    press("Enter")  # past the introduction
    for _ in range(2):
        press("Space")
        heard(page)
        press("7")
        press("0")
        press("Enter")
    assert heading(page) == "Sound and text"
    press("Enter")
    for _ in range(3):
        press("Space")
        heard(page)
        press("2")
        press("7")
        for emotion in EMOTIONS:
            tab_to(page, f"input[aria-label^='{emotion}']")
            press("2")
        press("Enter")
    assert heading(page) == "Versions of a sound"
    press("Enter")
    for _ in range(2):
        press("r")
        heard(page, 0)
        for place, letter in enumerate("ABC", 1):
            tab_to(page, f"input[aria-label^='Version {letter}']")
            press("Space")
            heard(page, place)
            press("8")
            press("ArrowRight")
        press("Enter")
    assert heading(page) == "Thank you"
    value = saved(page, lambda: press("Enter"), tmp_path)
    assert value["listening_with"] == "headphones"
    check(value, page, site, tmp_path, quality=7, score=81)


def test_all_tasks_can_be_done_by_mouse_alone(page, site, tmp_path):
    def on() -> None:
        page.click("button[type=submit]")

    on()
    on()
    for _ in range(2):
        page.click("button.play")
        heard(page)
        page.click("text=sea waves")
        on()
    on()
    for _ in range(2):
        page.click("button.play")
        heard(page)
        page.click("label:has(input[name=quality][value='4'])")
        page.click("label:has(input[name=fit][value='10'])")
        on()
    on()
    for _ in range(3):
        page.click("button.play")
        heard(page)
        page.click("text=heavy rain")
        page.click("label:has(input[name=quality][value='4'])")
        for emotion in EMOTIONS:
            page.fill(f"input[aria-label^='{emotion}']", "2")
        on()
    on()
    for _ in range(2):
        for place in range(4):
            page.locator("button.play").nth(place).click()
            heard(page, place)
        for place in range(3):
            slider = page.locator("input[type=range]").nth(place)
            box = slider.bounding_box()
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # where it stood already
        on()
    assert heading(page) == "Thank you"
    value = saved(page, lambda: page.click("button[type=submit]"), tmp_path)
    assert value["listening_with"] == ""
    check(value, page, site, tmp_path, quality=4, score=50)


def test_nothing_can_be_left_unheard_or_unanswered(page):
    press = page.keyboard.press
    begin(page)
    press("2")
    press("Enter")
    assert page.inner_text("#status") == "Listen to the sound first."
    assert page.evaluate("document.activeElement.className") == "play"
    page.reload()
    begin(page)
    press("Space")
    heard(page)
    press("Enter")
    assert "Choose an answer" in page.inner_text("#status") and page.inner_text("#count") == "0 of 9 answered"


def test_a_closed_tab_goes_on_where_it_was_and_everything_can_be_erased(page, site, tmp_path):
    begin(page)
    page.keyboard.press("Space")
    heard(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    first = saved(page, lambda: page.click("text=Save what I have so far"), tmp_path)
    assert len(first["answers"]) == 1 and first["finished"] is None
    second = page.context.new_page()
    page.close()
    second.goto(site[1] + PAGE.as_posix())
    assert heading(second) == "Welcome back" and second.inner_text("#count") == "1 of 9 answered"
    begin(second)
    again = saved(second, lambda: second.click("text=Save what I have so far"), tmp_path)
    assert again == first
    second.reload()
    second.click("text=Erase my answers")
    assert heading(second) == "Listening test" and second.evaluate("localStorage.length") == 0


def test_the_order_follows_from_the_seed_and_is_another_for_another_listener(page):
    orders = page.evaluate("""() => [5, 5, 6, 7, 8, 9].map(seed => JSON.stringify(
        Chance.order(LISTENING.tasks, seed).map(({item, versions}) => [item, versions])))""")
    assert orders[0] == orders[1] and len(set(orders)) > 2
    places = page.evaluate("""() => {
        const random = Chance.stream(1), counts = [0, 0, 0, 0];
        for (let i = 0; i < 4000; i += 1) counts[Chance.shuffled([0, 1, 2, 3], random).indexOf(0)] += 1;
        return counts;
    }""")
    assert all(850 < count < 1150 for count in places)  # 1000 each, give or take 5 standard deviations


def test_the_note_says_where_answers_go_and_everything_has_a_name(page):
    text = page.inner_text("main")
    assert "Nothing is sent anywhere" in text and "on your own machine" in text and "You can stop at any time" in text
    begin(page)
    unnamed = """() => [...document.querySelectorAll('input, button, progress')].filter(
        e => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length"""
    assert page.evaluate(unnamed) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_page_follows_the_systems_light_or_dark(page):
    asked = "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        bright, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in page.evaluate(asked))
        assert (bright > ink) == (scheme == "light") and abs(bright - ink) > 400


def test_a_sound_that_cannot_be_played_stops_nobody(page, site, tmp_path):
    page.route("**/sounds/*.wav", lambda route: route.abort())
    begin(page)
    page.wait_for_selector("text=cannot be played")
    page.keyboard.press("Enter")
    value = saved(page, lambda: page.click("text=Save what I have so far"), tmp_path)
    assert value["answers"][0]["failed"] is True
    answers = read_answers(tmp_path / "answers", read_key(site[0] / FOLDER / "key.json"))
    assert answers.listeners["n_failed"].tolist() == [1]
