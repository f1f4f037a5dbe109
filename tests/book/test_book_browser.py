"""The built book in a real browser: pages, links, anchors, pictures, sounds, tables, a phone and paper.

Needs a Chromium and a built book: the folder named by ENVSOUND_BOOK, or book/_build/html. Where one is
missing the tests skip with a plain message; with ENVSOUND_REQUIRE_BROWSER=1 they fail instead.
"""

import functools
import http.server
import os
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
import yaml
from fakes.browser import Quiet, unavailable

REPOSITORY = Path(__file__).parents[2]
ERRORS = ("Traceback (most recent call last)", "not included in any toctree", "{{ ", "Math Processing Error")


@pytest.fixture(scope="module")
def book() -> Path:
    """The folder of the built book."""
    folder = Path(os.environ.get("ENVSOUND_BOOK") or REPOSITORY / "book" / "_build" / "html")
    if not (folder / "index.html").is_file():
        unavailable(f"there is no built book in {folder} (make book)")
    return folder


@pytest.fixture(scope="module")
def address(book) -> str:
    """The book's address on a loopback server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def visited(browser, address) -> dict[str, dict]:
    """Every page of the sidebar -> its status, title, text, links, ids, pictures, players and failed
    requests.
    """
    page = browser.new_page()
    failed: list[str] = []
    # A page left while its icon is still on the way aborts that request: no fault of the book.
    page.on("requestfailed", lambda request: request.failure == "net::ERR_ABORTED" or failed.append(request.url))
    page.on("response", lambda response: response.status < 400 or failed.append(response.url))
    page.on("request", lambda request: request.url.startswith((address, "data:")) or failed.append(request.url))
    page.goto(address + "index.html")
    page.wait_for_url("**/intro.html")  # the index only redirects
    page.wait_for_load_state()
    links = page.eval_on_selector_all("nav.bd-links a[href]", "all => all.map(a => a.href)")
    found = {}
    for url in sorted({urldefrag(link).url for link in links}):
        failed.clear()
        status = page.goto(url).status
        found[url] = page.evaluate(LOOK) | {"status": status, "failed": list(failed)}
    page.close()
    return found


LOOK = """async () => {
  const pictures = [...document.querySelectorAll('article img')];
  pictures.forEach(image => { image.loading = 'eager'; });
  await Promise.all(pictures.map(image => image.decode().catch(() => null)));
  return {
    title: document.title,
    heading: document.querySelector('article h1')?.innerText ?? '',
    text: document.querySelector('article')?.innerText ?? '',
    links: [...document.querySelectorAll('article a[href], nav a[href]')].map(a => a.href),
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    broken: pictures.filter(image => !image.naturalWidth).map(image => image.src),
    players: [...document.querySelectorAll('audio')].map(a => a.src || a.querySelector('source')?.src),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    unstyled: [...document.querySelectorAll('article svg')]
      .filter(drawing => !drawing.getBoundingClientRect().width).length,
  };
}"""


def test_every_page_opens_with_a_title_and_without_an_error(visited):
    assert len(visited) >= 10
    for url, page in visited.items():
        assert page["status"] == 200, url
        assert page["title"] and page["heading"], url
        assert not [words for words in ERRORS if words in page["text"]], url


def test_pages_need_nothing_from_elsewhere_and_every_picture_loads(visited):
    for url, page in visited.items():
        assert page["failed"] == [], url
        assert page["broken"] == [], url
        assert page["unstyled"] == 0, url


def test_no_page_is_wider_than_the_window(visited):
    assert {url: page["overflow"] for url, page in visited.items() if page["overflow"] > 0} == {}


def test_internal_links_and_anchors_resolve(visited, address, book):
    dead = []
    for url, page in visited.items():
        for link in page["links"]:
            target, anchor = urldefrag(urljoin(url, link))
            if not target.startswith(address):
                continue
            path = book / unquote(urlsplit(target).path).lstrip("/")
            known = visited.get(target)
            missing = not path.exists() or (anchor and known and unquote(anchor) not in known["ids"])
            dead += [f"{url} -> {link}"] if missing else []
    assert dead == []


def test_every_player_links_to_a_file_of_the_book(visited, address, book):
    for url, page in visited.items():
        for source in page["players"]:
            assert source.startswith(address), f"{url}: {source[:80]}"
            assert (book / unquote(urlsplit(source).path).lstrip("/")).is_file(), f"{url}: {source}"


def test_a_player_plays(visited, browser):
    url = next((url for url, page in visited.items() if page["players"]), None)
    if url is None:
        unavailable("the built book has no player (build it with a run: make study)")
    page = browser.new_page()
    page.goto(url)
    played = page.evaluate("""async () => {
      const audio = document.querySelector('audio');
      audio.muted = true;
      await audio.play();
      const start = Date.now();
      while (audio.currentTime === 0 && Date.now() - start < 8000) await new Promise(r => setTimeout(r, 50));
      const error = audio.error?.message ?? null;
      return {ready: audio.readyState, duration: audio.duration, time: audio.currentTime, error};
    }""")
    page.close()
    assert played["error"] is None
    assert played["ready"] >= 2 and played["duration"] > 0 and played["time"] > 0


def test_formulas_are_drawn_by_the_browser(visited, browser):
    url = next(url for url in visited if url.endswith("/definitions.html"))
    page = browser.new_page()
    page.goto(url)
    sizes = page.eval_on_selector_all("div.math math", "all => all.map(m => m.getBoundingClientRect().height)")
    page.close()
    assert len(sizes) >= 10 and min(sizes) > 10


@pytest.fixture
def page(browser):
    """A new page, and its closing."""
    page = browser.new_page()
    yield page
    page.close()


def test_sounds_play_by_keyboard_one_at_a_time_and_have_names(page, address):
    page.goto(address + "listen.html")
    page.wait_for_selector("button.play")
    names = page.eval_on_selector_all("button.play", "all => all.map(b => b.getAttribute('aria-label'))")
    if not names:
        unavailable("the built book has no sound (build it in a repository with published clips)")
    assert len(names) == len(set(names)) and all(name.startswith("Play: ") for name in names)
    assert page.get_by_role("button", name=names[0], exact=True).count() == 1
    playing = "[...document.querySelectorAll('audio')].map((audio, n) => audio.paused ? -1 : n).filter(n => n >= 0)"
    page.locator("button.play").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"{playing}.length == 1 && document.querySelectorAll('audio')[0].currentTime > 0")
    assert page.locator("button.play").first.get_attribute("aria-pressed") == "true"
    for _ in range(20):  # past the links of the first card, to the second picture
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.play')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_function(f"JSON.stringify({playing}) == '[1]'")
    assert page.locator("button.play").first.get_attribute("aria-pressed") == "false"
    page.keyboard.press("Enter")
    page.wait_for_function(f"{playing}.length == 0")


def test_each_recording_names_its_author_and_licence(page, address):
    page.goto(address + "listen.html")
    told = page.eval_on_selector_all("figure.sound", """all => all.map(f => [f.querySelector('b').innerText,
      f.querySelectorAll('a[href*="creativecommons.org"]').length, f.querySelectorAll('a[download]').length])""")
    assert all(n == 1 for _, _, n in told)
    assert all(n == 1 for kind, n, _ in told if "recording" in kind or "training clip" in kind)


def test_a_table_is_sorted_by_its_heading_and_back(page, address):
    page.goto(address + "results.html")
    table = page.locator(".wide-table table").first
    table.scroll_into_view_if_needed()
    rows = "[...document.querySelector('.wide-table table').tBodies[0].rows]"
    column = f"{rows}.map(row => parseFloat(row.cells[1].innerText))"
    before = page.evaluate(column)
    heading = table.locator("th").nth(1)
    heading.locator("button").press("Enter")
    assert page.evaluate(column) == sorted(before) and heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").press("Enter")
    assert page.evaluate(column) == sorted(before, reverse=True) and heading.get_attribute("aria-sort") == "descending"


def test_a_phone_shows_every_page_without_sideways_scrolling(visited, browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    wide = {}
    for url in visited:
        page.goto(url)
        wide[url] = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.close()
    assert {url: pixels for url, pixels in wide.items() if pixels > 0} == {}


def test_paper_cuts_no_table_and_opens_every_box(visited, page):
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins, CSS pixels
    for url in visited:
        page.goto(url)
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        cut = page.eval_on_selector_all("article table", """all => all.filter(t =>
          t.getBoundingClientRect().right > window.innerWidth + 1 || t.scrollWidth > t.clientWidth + 1).length""")
        assert cut == 0, url
        assert page.locator("article details:not([open])").count() == 0, url


def test_old_addresses_lead_on(page, address):
    kept = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["sphinx"]["config"]["redirects"]
    for old, new in kept.items():
        name, _, anchor = new.partition("#")
        page.goto(f"{address}{old}.html")
        page.wait_for_url(f"**/{name}.html*")
        assert page.url == f"{address}{name}.html" + (f"#{anchor}" if anchor else "")
        assert page.locator("article h1").count() == 1
        assert not anchor or page.locator(f'[id="{anchor}"]').count() == 1, new
