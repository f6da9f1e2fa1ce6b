#!/usr/bin/env python3
"""Tries the chat page of `serve` in a headless Chromium.

    apt-get install chromium
    python3 tools/page_test.py --pictures /tmp/pictures              # against a mock server
    python3 tools/page_test.py --url http://127.0.0.1:8080/          # against a running server: sends, streams, stops

The standard library is all it needs. The mock server answers slowly enough to watch, and serves the page with a content
security policy as strict as the page allows. Pictures are taken at the width of a phone and of a desktop, light and dark,
to be looked at. The exit code is 0 if everything is as it should be.
"""

import argparse
import json
import os
import re
import sys
import time

from serving.chromium import Browser, Failure
from serving.page_mock import PREFIX, SLOW, Mock


def check(true, what):
    if not true:
        raise Failure(what)


ANSWER = "document.querySelector('.turn:last-child .prose')"
TEXT = f"({ANSWER}?.textContent ?? '')"
# All elements that Markdown becomes, and those around code.
TAGS = "P DIV SPAN BUTTON PRE CODE A EM STRONG DEL H2 H3 H4 H5 HR UL OL LI BLOCKQUOTE TABLE THEAD TBODY TR TH TD".split()
IDLE = "!document.body.classList.contains('busy')"


def say(page, text):
    page.run("document.getElementById('input').focus()")
    page.type(text)
    page.key("Enter")


def ask(page, text, seconds=30):
    say(page, text)
    page.until(IDLE, seconds)
    return page.run(TEXT)


def fresh(page, url):
    page.go(url)
    page.run("localStorage.clear(), sessionStorage.clear()")
    page.call("Page.reload")
    page.until("document.readyState === 'complete' && document.getElementById('name').textContent !== 'fairy2i-gpu'")


def streams(page, url, mock):
    """A message is sent, and its answer seen while it grows; it is kept over a reload."""
    fresh(page, url)
    check(page.run("document.activeElement.id") == "input", "the box for messages has no focus at the start")
    say(page, "Hello there")
    lengths = set()
    while not page.run(IDLE):
        lengths.add(page.run(TEXT + ".length"))
    check(len(lengths) > 3, f"the answer was not seen growing: lengths {sorted(lengths)}")
    stats = page.run("document.querySelector('.turn:last-child .stats').textContent")
    check(
        re.search(r"\d+\stokens · [\d.]+\stokens/s · first\safter\s[\d.]+\ss", stats),
        f"the counts are not shown: {stats}",
    )
    text = page.run(TEXT)
    page.call("Page.reload")
    page.until(f"document.readyState === 'complete' && {TEXT} === {json.dumps(text)}")


def stops(page, url, mock):
    """The escape key and the button each stop an answer; the server sees it; the text so far stays."""
    fresh(page, url)
    for stop in (lambda: page.key("Escape"), lambda: page.click("#send")):
        left = mock.left if mock else 0
        say(page, "A long answer, please: count from one to a thousand.")
        page.until(TEXT + ".length > 60")
        stop()
        page.until(IDLE)
        check(
            page.run("document.querySelector('.turn:last-child .stats').textContent").endswith("stopped"),
            "not called stopped",
        )
        length = page.run(TEXT + ".length")
        time.sleep(0.2)
        check(page.run(TEXT + ".length") == length > 60, "the answer goes on after it was stopped")
        if mock:
            end = time.monotonic() + 5
            while mock.left == left and time.monotonic() < end:
                time.sleep(0.02)
            check(mock.left == left + 1, "the server does not see that the answer was stopped")


def changes(page, url, mock):
    """Regenerating, changing the last question, a new chat and the way back; what the server is sent each time."""
    fresh(page, url)
    first = ask(page, "Hello")
    page.click(".again")
    page.until(IDLE + f" && {TEXT} !== {json.dumps(first)}")
    check(len(mock.bodies[-1]["messages"]) == 1, "an answer made anew is shown the old one")
    page.run("document.getElementById('input').focus()")
    page.key("ArrowUp")
    page.until("document.activeElement.matches('.editing textarea')")
    page.type(" again")
    page.key("Enter")
    page.until("!document.querySelector('.editing') && " + IDLE)
    said = [m["content"] for m in mock.bodies[-1]["messages"]]
    check(said == ["Hello again"], f"the changed question was sent as {said}")
    ask(page, "two\nlines")
    roles = [m["role"] for m in mock.bodies[-1]["messages"]]
    check(roles == ["user", "assistant", "user"], f"a conversation was sent as {roles}")
    page.click("#new")
    check(page.run("document.getElementById('log').children.length") == 0, "a new chat is not empty")
    page.click("#back")
    check(page.run("document.getElementById('log').children.length") == 4, "the last conversation does not come back")


def settings(page, url, mock):
    """Options reach the server as numbers; empty ones do not; wrong ones are not sent; the panel is left by Escape."""
    fresh(page, url)
    page.click("#settings")
    for name, value in {
        "system": "Be brief.",
        "temperature": "0.25",
        "top_k": "7",
        "seed": "42",
        "max_tokens": "9",
    }.items():
        page.run(f"document.querySelector('[name={name}]').focus()")
        page.type(value)
    page.key("Escape")
    check(
        page.run("!document.getElementById('panel').open && document.activeElement.id") == "settings",
        "Escape leaves the panel open",
    )
    ask(page, "Hello")
    body = mock.bodies[-1]
    wanted = {"temperature": 0.25, "top_k": 7, "seed": 42, "max_tokens": 9, "model": "novella-w2", "stream": True}
    check(all(body[k] == v for k, v in wanted.items()) and "top_p" not in body, f"the server was sent {body}")
    check(body["messages"][0] == {"role": "system", "content": "Be brief."}, "the system prompt is not sent")
    count = len(mock.bodies)
    page.run("document.querySelector('[name=temperature]').value = '-3'")
    say(page, "Hello")
    check(
        page.run("document.getElementById('panel').open") and len(mock.bodies) == count, "a wrong temperature is sent"
    )


def faults(page, url, mock):
    """What goes wrong is said in words; a question without an answer is not sent again with the next one."""
    fresh(page, url)
    shown = "document.querySelector('.turn:last-child .fault').textContent"
    for text, words in {"refuse": "at least 0 <b>", "broken": "ended before", "fault": "device was lost"}.items():
        ask(page, text)
        check(words in page.run(shown), f"{text}: the page says {page.run(shown)}")
    ask(page, "limit")
    check(
        "ended\u00a0at" in page.run("document.querySelector('.turn:last-child .stats').textContent"),
        "length is not said",
    )
    said = [m["content"] for m in mock.bodies[-1]["messages"]]
    check("refuse" not in said and said[0] == "broken", f"sent after faults: {said}")
    mock.key = "sesame"
    ask(page, "Hello")
    page.click(".fault [data-do=key]")
    check(page.run("document.activeElement.id") == "key", "the field of the key has no focus")
    page.type("sesame")
    page.click("#close")
    page.click(".again")
    page.until(IDLE + f" && {TEXT}.includes('This is answer')")
    check(not page.run("JSON.stringify(localStorage).includes('sesame')"), "the key is kept for longer than the tab")
    mock.key = None


def hostile(page, url, mock):
    """Nothing a model writes is executed or loaded; nothing is lost; nothing takes long."""
    fresh(page, url)
    page.requests.clear()
    ask(page, "hostile")
    page.run("document.querySelectorAll('.prose a').forEach((a) => a.dispatchEvent(new MouseEvent('mouseover')))")
    time.sleep(0.3)
    check(page.run("window.hacked === undefined"), "the model's text was executed")
    odd = page.run(f"[...{ANSWER}.querySelectorAll('*')].filter((e) => !{json.dumps(TAGS)}.includes(e.tagName)).length")
    check(odd == 0, f"{odd} elements that Markdown has not")
    links = page.run(f"[...{ANSWER}.querySelectorAll('a')].map((a) => [a.href, a.rel, a.target])")
    check(
        links
        and all(
            re.match("https?://ok.invalid/|https://evil.invalid/picture", l[0]) and "noopener" in l[1] for l in links
        ),
        f"links: {links}",
    )
    check('<img src=x onerror="window.hacked=1">' in page.run(TEXT), "raw HTML is not shown as text")
    others = [
        r
        for r in page.requests
        if not re.fullmatch(re.escape(url) + r"(v1/.*|props|)", r) and not r.startswith("data:")
    ]
    check(not others, f"requests besides those of the API: {others}")
    for number, text in enumerate(SLOW):
        begun = time.monotonic()
        ask(page, f"slow {number}", 60)
        spent = time.monotonic() - begun
        print(f"    {text[:16]!r}.. {len(text)} characters: {spent:.2f} s", file=sys.stderr)
        check(spent < 5, f"{text[:20]!r}..: drawn in {spent:.1f} s")
        page.click("#new")
    check(page.run("window.hacked === undefined"), "the model's text was executed")


def same_whole(page, url, mock):
    """An answer that was drawn while it came looks as it does when it is drawn at once."""
    for text in ("hostile", "showcase", "unclosed"):
        fresh(page, url)
        ask(page, text)
        drawn = page.run(ANSWER + ".innerHTML")
        page.call("Page.reload")
        page.until("document.readyState === 'complete' && " + TEXT + " !== ''")
        check(page.run(ANSWER + ".innerHTML") == drawn, f"{text}: drawn at once it looks otherwise")


def grows(page, url, mock):
    """A long answer is drawn while it comes, the view stays at its end, and reading further up is left in peace."""
    fresh(page, url)
    begun = time.monotonic()
    ask(page, "code", 60)
    spent = time.monotonic() - begun
    lines = page.run(f"{ANSWER}.querySelector('code').textContent.split('\\n').length")
    check(lines >= 8000 and spent < 15, f"{lines} lines of code in {spent:.1f} s")
    page.click("#new")
    say(page, "long")
    page.run("window.s = document.getElementById('scroller')")
    rest = "s.scrollHeight - s.clientHeight - s.scrollTop"
    page.until(TEXT + ".length > 3000")
    check(page.run(rest) < 60, "the view does not stay at the end")
    page.run("document.getElementById('scroller').scrollBy(0, -200)")
    time.sleep(0.4)
    check(page.run(rest) > 200, "the view is torn away from the reader")
    page.click("#end")
    page.until(rest + " < 60")
    time.sleep(0.3)
    check(page.run(rest) < 60, "the view does not go on at the end")
    page.key("Escape")
    page.until(IDLE)


def behind_prefix(page, url, mock):
    """Everything works behind a path prefix, with and without a slash at its end."""
    for prefix in (PREFIX + "/", PREFIX):
        page.requests.clear()
        fresh(page, url.rstrip("/") + prefix)
        check("This is answer" in ask(page, "Hello"), "no answer behind a prefix")
        wrong = [r for r in page.requests if PREFIX not in r and not r.startswith("data:")]
        check(not wrong, f"requests beside the prefix {prefix}: {wrong}")


def keyboard(page, url, mock):
    """Tab reaches everything in the order of the page, each with a visible focus; Shift+Enter is a new line."""
    fresh(page, url)
    ask(page, "Hello")
    page.type("a")
    page.key("Enter", shift=True)
    page.type("b")
    check(page.run("document.getElementById('input').value") == "a\nb", "Shift+Enter is no new line")
    page.run("document.getElementById('scroller').focus()")
    seen = []
    focus = "document.activeElement"
    for _ in range(6):
        page.key("Tab")
        seen.append(page.run(f"{focus}.id || {focus}.className"))
        outline = page.run(
            f"[{focus}, {focus}.parentElement].map((e) => getComputedStyle(e))"
            ".some((style) => style.outlineStyle !== 'none' || style.boxShadow !== 'none')"
        )
        check(outline, f"no visible focus on {seen[-1]}")
    check(seen == ["copy", "edit", "copy", "again", "input", "send"], f"the order of focus is {seen}")
    nameless = page.run(
        "[...document.querySelectorAll('button, input, textarea, select')].map((e) => "
        "e.ariaLabel || e.labels?.length || e.textContent.trim() ? null : e.outerHTML).filter(Boolean)"
    )
    check(not nameless, f"controls without a name: {nameless}")


def states(page, url, mock):
    """What is between: stopped before the first token, a new chat meanwhile, the switch of colours, copying."""
    fresh(page, url)
    for leave in (lambda: page.key("Escape"), lambda: page.click("#new")):
        say(page, "patience")
        page.until("document.querySelector('.waiting') !== null")
        leave()
        page.until(IDLE + " && !document.querySelector('.waiting')")
    check(page.run("document.getElementById('log').hidden"), "a new chat is not empty")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.run(colour)
    page.click("#theme")
    check(page.run(colour) != before, "the switch of colours does nothing")
    page.call("Page.reload")
    page.until(f"document.readyState === 'complete' && {colour} !== {json.dumps(before)}")
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    ask(page, "Show me the showcase")
    page.click(".code button")
    check(page.run("copied").startswith("fn rotate("), "the button of code copies something else")
    page.click(".assistant .copy")
    check(
        page.run("copied").startswith("Every complex number $a + bi$ is a **point"),
        "an answer is not copied as it came",
    )


def alone(page, url, mock):
    """A server that is gone is said to be gone, and found again."""
    fresh(page, url)
    mock.gone = True
    ask(page, "Hello")
    check("does not answer" in page.run("document.querySelector('.fault').textContent"), "the server's end is not said")
    page.click("#new")
    page.call("Page.reload")
    mock.gone = False


def pictures(page, url, mock, folder):
    os.makedirs(folder, exist_ok=True)
    for name, width, height in (("phone", 390, 844), ("desktop", 1280, 800)):
        page.size(width, height, phone=name == "phone")
        for scheme in ("light", "dark"):
            page.scheme(scheme)
            fresh(page, url)
            page.picture(f"{folder}/{name}-{scheme}-start.png")
            page.run("document.getElementById('input').focus()")
            page.type("Show me the showcase")
            page.click("#send")
            page.until(IDLE)
            page.picture(f"{folder}/{name}-{scheme}-end.png")
            page.run("document.getElementById('scroller').scrollTo(0, 0)")
            page.picture(f"{folder}/{name}-{scheme}-top.png")
            wide = page.run("document.documentElement.scrollWidth > innerWidth")
            check(not wide, f"the page is wider than a {name}")
            page.click("#settings")
            page.picture(f"{folder}/{name}-{scheme}-settings.png")
            page.click("#close")
    page.run("document.getElementById('input').focus()")
    page.type("refuse")
    page.click("#send")
    page.until(IDLE)
    page.type("Hello")
    page.click("#send")
    page.until(TEXT + ".length > 20")
    page.picture(f"{folder}/desktop-dark-running.png")
    page.size(1280, 800)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a running server, instead of the mock")
    parser.add_argument("--pictures", metavar="FOLDER", help="where pictures of the page are written")
    parser.add_argument("--only", help="the one test that is wanted")
    options = parser.parse_args()
    tests = [streams, stops]
    if not options.url:
        tests += [changes, settings, faults, hostile, same_whole, grows, behind_prefix, keyboard, states, alone]
    mock = None if options.url else Mock()
    url = options.url or mock.url
    failed = 0
    with Browser() as browser:
        for test in tests:
            if options.only and test.__name__ != options.only:
                continue
            page = browser.page()
            page.size(1280, 800)
            begun = time.monotonic()
            try:
                test(page, url, mock)
                # Browsers report every refused request as a fault of the page; refusing is part of the tests.
                check(not page.faults, f"the page reports {page.faults}")
                result = "ok"
            except Failure as failure:
                failed += 1
                result = f"FAILED: {failure}"
            print(f"{test.__name__}: {result} ({time.monotonic() - begun:.1f} s)")
        if options.pictures:
            pictures(browser.page(), url, mock, options.pictures)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
