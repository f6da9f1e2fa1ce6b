#!/usr/bin/env python3
"""Tries the page that tools/web.sh builds in a headless Chromium, on its software WebGPU adapter and without WebGPU.

    apt-get install chromium
    tools/web.sh && cargo build --release
    python3 tools/web_test.py --pictures /tmp/pictures
    python3 tools/web_test.py --large FOLDER        # a packed model of 200 MB or more: how much memory it takes

The standard library is all it needs. The program is asked for the same texts and the same errors. Pictures are taken at
the width of a phone and of a desktop, to be looked at. The exit code is 0 if everything is as it should be.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from serving.chromium import Browser, Failure
from serving.static_site import Site

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
MODEL = os.path.join(ROOT, "src/builtin/model")
PROMPT = "Once upon a time"
TOKENS = 32
WEBGPU = ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader")
NO_WEBGPU = ("--disable-gpu", "--disable-features=WebGPU")
# Seconds until a model is there: software adapters compile shaders slowly.
LOADING = 300
# Seconds for a text on a software adapter, which is slower than the CPU backend by far.
SLOW = 1200
READY = "document.body.dataset.ready !== undefined && document.getElementById('status').hidden"
FAULT = "(document.getElementById('fault').hidden ? '' : document.getElementById('fault-text').textContent)"
IDLE = "document.getElementById('send').textContent === 'Go'"
LAST = "document.querySelector('.turn:last-child')"


def check(true, what):
    if not true:
        raise Failure(what)


def expect(page, note):
    """Takes what the browser itself notes from what the page is blamed for."""
    page.faults = [fault for fault in page.faults if fault != note]


class Bench:
    """What all tests have: the site, the program, and a folder for files."""

    def __init__(self, site, program, scratch):
        self.site, self.program, self.scratch = site, program, scratch
        self.browser = None

    def ask(self, *arguments):
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, cwd=self.scratch, timeout=600)
        return done.returncode, done.stdout, done.stderr

    def ids(self, *arguments):
        code, out, err = self.ask("generate", "--temp", "0", "-n", str(TOKENS), "--json", *arguments, PROMPT)
        check(code == 0, f"the program fails: {err}")
        return json.loads(out)["ids"]


def opened(page, url, query="", tokens=TOKENS):
    page.go(f"{url}?temperature=0&maxTokens={tokens}{query}")
    page.until(f"({READY}) || {FAULT}", LOADING)
    check(not page.run(FAULT), page.run(FAULT))


def generated(page, seconds=LOADING):
    """The ids of the text that the page's prompt gives, and its line of counts."""
    page.click("#send")
    page.until(f"!({IDLE})")
    page.until(IDLE, seconds)
    check(not page.run(FAULT), page.run(FAULT))
    ids = page.run(f"{LAST}.dataset.ids")
    return [int(i) for i in ids.split()], page.run(f"{LAST}.querySelector('.stats').textContent")


def same_ids(page, bench, device, tokens=TOKENS):
    """Greedily: the ids are those of the program on the CPU."""
    begun = time.monotonic()
    opened(page, bench.site.url, f"&device={device}", tokens)
    loaded = time.monotonic() - begun
    facts = page.run("document.getElementById('facts').textContent")
    check(("CPU" if device == "cpu" else "WebGPU") in facts, f"the page runs elsewhere: {facts}")
    ids, stats = generated(page, SLOW)
    print(f"    {facts}; ready after {loaded:.1f} s; {stats}", file=sys.stderr)
    expected = bench.ids("--device", "cpu")[:tokens]
    check(ids == expected, f"other ids than the program's: {ids}, not {expected}")
    if device == "cpu":
        ids, stats = generated(page)
        print(f"    again: {stats}", file=sys.stderr)
        check(ids == expected, "the second text has other ids")
    text = page.run(f"{LAST}.querySelector('.said').textContent")
    check(len(text) > tokens, f"the text is {text!r}")


def on_webgpu(page, bench):
    same_ids(page, bench, "gpu")


def on_plain_webgpu(page, bench):
    """Without optional features, as on the least that a browser may have."""
    same_ids(page, bench, "gpu&plain", 8)


def on_the_cpu(page, bench):
    same_ids(page, bench, "cpu")


def falls_back(page, bench):
    """Without an adapter the page takes the CPU, and says why."""
    opened(page, bench.site.url)
    facts = page.run("document.getElementById('facts').textContent")
    check("CPU (" in facts, f"the page says {facts}")
    check(generated(page)[0] == bench.ids("--device", "cpu"), "other ids than the program's")
    page.go(bench.site.url + "?device=gpu")
    page.until(FAULT, LOADING)
    fault = page.run(FAULT)
    check("no GPU was found (tried: WebGPU)" in fault and "\n" not in fault, f"the page says {fault!r}")
    # Chromium itself notes each request that it has no adapter for.
    expect(page, "No available adapters.")


def agrees(page, bench, device):
    """The button runs every operation that the device has a kernel for; all agree; the table can be copied."""
    page.go(bench.site.url + "?device=cpu")
    page.until(READY, LOADING)
    page.click("#open-check")
    page.run(f"document.getElementById('check-device').value = '{device}'")
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    begun = time.monotonic()
    page.click("#run-check")
    page.until("!document.getElementById('copy-check').disabled || "
               "document.getElementById('check-result').textContent.startsWith('error')", 1800)
    result = page.run("document.getElementById('check-result').textContent")
    failed = page.run("[...document.querySelectorAll('#rows .failed')].map((row) => row.textContent)")
    print(f"    {result} ({time.monotonic() - begun:.0f} s)", file=sys.stderr)
    check("agrees with the reference" in result and not failed, f"{result}: {failed}")
    page.click("#copy-check")
    copied = page.run("window.copied")
    check("| phase_gemv " in copied and "Runs on: " in copied, f"what is copied: {copied[:300]}")


def agrees_on_webgpu(page, bench):
    agrees(page, bench, "gpu")


def agrees_on_the_cpu(page, bench):
    agrees(page, bench, "cpu")


def stops(page, bench):
    """Escape and the button stop a text; the page goes on drawing meanwhile."""
    opened(page, bench.site.url, "&device=cpu", 900)
    page.run("window.frames = 0; (function draw() { frames++; requestAnimationFrame(draw); })()")
    for stop in (lambda: page.key("Escape"), lambda: page.click("#send")):
        page.click("#send")
        page.until(f"({LAST}?.querySelector('.said')?.textContent.length ?? 0) > 30", 60)
        before = page.run("frames")
        time.sleep(0.5)
        check(page.run("frames") - before >= 5, "the page stands still while text is generated")
        stop()
        page.until(IDLE, 30)
        stats = page.run(f"{LAST}.querySelector('.stats').textContent")
        check(stats.endswith("stopped"), f"not called stopped: {stats}")


def chats(page, bench):
    """A question, its answer, and another one: the conversation grows and can be cleared."""
    opened(page, bench.site.url, "&device=cpu", 12)
    page.click("[value=chat]")
    for count in (2, 4):
        page.run("document.getElementById('input').focus()")
        page.type("Who are you?")
        page.key("Enter")
        page.until(f"document.querySelectorAll('.turn').length === {count} && {IDLE}", 120)
        check(not page.run(FAULT), page.run(FAULT))
    page.click("#clear")
    check(page.run("document.querySelectorAll('.turn').length") == 0, "the conversation is not cleared")


def set_files(page, selector, paths):
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=paths)


def by_picker(page, bench):
    """A folder by the picker gives the text of the program."""
    opened(page, bench.site.url, "&device=cpu")
    folder = os.path.join(bench.scratch, "picked")
    shutil.copytree(MODEL, folder)
    set_files(page, "#folder", [folder])
    page.until("document.getElementById('facts').textContent.startsWith('picked,')", LOADING)
    check(generated(page)[0] == bench.ids("--device", "cpu", "-m", folder), "other ids than the program's")


def by_address(page, bench):
    """A model by its address is fetched in ranges, and taken from the browser's own files the next time."""
    folder = os.path.join(bench.site.folder, "model-by-address")
    shutil.copytree(MODEL, folder, dirs_exist_ok=True)
    try:
        for visit in (1, 2):
            bench.site.asked.clear()
            opened(page, bench.site.url, "&device=cpu&model=model-by-address/")
            asked = [r for path, r in bench.site.asked if path.endswith("/model.safetensors")]
            check(all(asked) if visit == 1 else not asked, f"visit {visit} asks for the tensors as {asked}")
            check(len(asked) == (visit == 1), f"visit {visit} asks for the tensors {len(asked)} times")
        check(generated(page)[0] == bench.ids("--device", "cpu"), "other ids than the program's")
    finally:
        shutil.rmtree(folder)
    page.go(bench.site.url + "?device=cpu&model=nowhere/")
    page.until(FAULT, 60)
    check("nowhere/config.json: the server answers 404" in page.run(FAULT), page.run(FAULT))


def container(tensors, length=None, data=b""):
    """A safetensors file of a header as text."""
    header = tensors.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def bad_files():
    """Names, and what is done to a copy of the built-in model: faults of the tests of files."""
    one = '"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'

    def write(name, data):
        def to(folder):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data if isinstance(data, bytes) else data(open(os.path.join(MODEL, name), "rb").read()))

        return to

    def config(**fields):
        return write("config.json", lambda old: json.dumps({**json.loads(old), **fields}).encode())

    weights = "model.safetensors"
    return {
        "truncated": write(weights, lambda old: old[:-1]),
        "short": write(weights, b"abc"),
        "past": write(weights, container("{}", 1 << 20)),
        "huge": write(weights, container("{}", 1 << 40)),
        "text": write(weights, b"x" * 100),
        "twice": write(weights, container("{%s,%s}" % (one, one), data=bytes(4))),
        "overflow": write(weights, container("{%s}" % one.replace("[1]", "[4611686018427387904]"), data=bytes(4))),
        "strange": write(weights, container("{%s}" % one, data=bytes(4))),
        "nothing": lambda folder: os.remove(os.path.join(folder, weights)),
        "unconfigured": lambda folder: os.remove(os.path.join(folder, "config.json")),
        "architecture": config(architectures=["GPT2LMHeadModel"], model_type="gpt2"),
        "heads": config(num_attention_heads=7),
        "json": write("config.json", b"{"),
        "tokenizer": write("tokenizer.json", b"{}"),
        "outside": lambda folder: (
            os.remove(os.path.join(folder, weights)),
            write(weights + ".index.json", b'{"weight_map":{"a":"../x.safetensors"}}')(folder),
        ),
        "shard": lambda folder: (
            os.remove(os.path.join(folder, weights)),
            write(weights + ".index.json", b'{"weight_map":{"a":"x.safetensors"}}')(folder),
        ),
    }


def bad_files_are_refused(page, bench):
    """Each fault gives the line that the program gives, but for what it says of its own options."""
    opened(page, bench.site.url, "&device=cpu")
    wrong = []
    for name, spoil in bad_files().items():
        folder = os.path.join(bench.scratch, name)
        shutil.copytree(MODEL, folder)
        spoil(folder)
        code, _, err = bench.ask("generate", "--device", "cpu", "-n", "1", "-m", name, PROMPT)
        check(code == 2, f"{name}: the program's exit code is {code}: {err}")
        page.run("document.getElementById('fault').hidden = true")
        set_files(page, "#folder", [folder])
        page.until(FAULT, 60)
        shown = page.run(FAULT)
        line = re.sub(r" \(--[a-z-]+(, --[a-z-]+)*\)$", "", err.strip().splitlines()[-1])
        # where there is no file, systems have words of their own
        line = line.replace("No such file or directory (os error 2)", "entity not found")
        if shown != line or "\n" in shown:
            wrong.append(f"{name}: {shown[:300]!r}, the program {line[:300]!r}")
    check(not wrong, "\n    ".join(wrong))
    print(f"    {len(bad_files())} faults", file=sys.stderr)


def readable(page, bench):
    """All controls have names, everything is reached by the keyboard, nothing is wider than a small phone."""
    opened(page, bench.site.url, "&device=cpu")
    nameless = page.run(
        "[...document.querySelectorAll('button, input, textarea, select')].map((e) => "
        "e.ariaLabel || e.labels?.length || e.textContent.trim() ? null : e.outerHTML).filter(Boolean)"
    )
    check(not nameless, f"controls without a name: {nameless}")
    page.size(375, 700, phone=True)
    for button in (None, "model", "settings", "check"):
        if button:
            page.click(f"#open-{button}")
        wide = page.run("document.documentElement.scrollWidth > innerWidth")
        check(not wide, f"the page is wider than a phone ({button})")
        if button:
            page.key("Escape")
            closed = f"!document.getElementById('{button}').open && document.activeElement.id === 'open-{button}'"
            check(page.run(closed), f"Escape leaves {button} open, or the focus gets lost")
    page.size(1280, 800)
    opened(page, bench.site.url, "&device=cpu")
    seen = []
    for _ in range(8):
        page.key("Tab")
        seen.append(page.run("document.activeElement.id || document.activeElement.value"))
    wanted = ["open-model", "open-settings", "open-check", "continue", "clear", "input", "send"]
    check([name for name in seen if name in wanted] == wanted, f"the order of focus is {seen}")


def device_loss(page, bench):
    """A GPU that is lost gives a line and a button, which starts again."""
    opened(page, bench.site.url, "&device=gpu", 900)
    page.click("#send")
    page.until(f"({LAST}?.querySelector('.said')?.textContent.length ?? 0) > 5", 120)
    # The process behind the browser's GPU ends, the page goes on.
    for pid in processes(bench.browser):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"--type=gpu-process" in file.read():
                os.kill(pid, signal.SIGKILL)
    page.until(FAULT, 120)
    shown = page.run(FAULT)
    print(f"    {shown}", file=sys.stderr)
    check("lost" in shown and "\n" not in shown, f"the page says {shown!r}")
    page.click("#retry")
    page.until(f"({READY}) || {FAULT}", LOADING)
    expect(page, "A valid external Instance reference no longer exists.")


def sizes(site):
    """The wasm file: as it is, and compressed without the model inside."""
    with open(os.path.join(site, "package/fairy2i_gpu_bg.wasm"), "rb") as file:
        wasm = file.read()
    alone = wasm
    for name in os.listdir(MODEL):
        with open(os.path.join(MODEL, name), "rb") as file:
            content = file.read()
        # short ones may be stored in pieces
        if len(content) > 4096:
            check(content in alone, f"{name} is not in the wasm file")
            alone = alone.replace(content, b"")
    whole, small = len(gzip.compress(wasm, 9)), len(gzip.compress(alone, 9))
    print(f"wasm: {len(wasm):,} bytes; gzip {whole:,}; without the model {len(alone):,}, gzip {small:,}")
    check(small < 3_000_000, "compressed and without the model, the wasm file has more than 3 MB")


def processes(browser):
    """The numbers of all processes of a browser."""
    pids = [browser.process.pid]
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    pids += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return pids


def memory(browser):
    """Bytes of memory that all processes of a browser take, shared pages shared out."""
    total = 0
    for pid in processes(browser):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return total


def large(bench, folder, device, flags):
    """A large packed model by the picker: the most memory on the way, against its size."""
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    with Browser(*flags) as browser:
        page = browser.page()
        opened(page, bench.site.url, f"&device={device}&context=512", 4)
        generated(page)
        before = most = memory(browser)
        begun = time.monotonic()
        set_files(page, "#folder", [os.path.abspath(folder)])
        name = os.path.basename(os.path.abspath(folder))
        there = f"document.getElementById('facts').textContent.startsWith('{name},')"
        while not page.run(f"{there} || {FAULT}"):
            most = max(most, memory(browser))
            check(time.monotonic() - begun < 1200, "loading does not end")
        check(not page.run(FAULT), page.run(FAULT))
        loaded = time.monotonic() - begun
        _, stats = generated(page, 900)
        most, after = max(most, memory(browser)), memory(browser)
    grown = (most - before) / size
    print(
        f"large on {device}: {size / 1e6:.0f} MB, loaded in {loaded:.0f} s; memory grew by {(most - before) / 1e6:.0f} MB "
        f"at most ({grown:.2f} times its size), {(after - before) / 1e6:.0f} MB in the end; {stats}"
    )
    check(grown <= 2, f"memory grew by {grown:.2f} times the size of the model")


def pictures(page, bench, folder):
    os.makedirs(folder, exist_ok=True)
    for name, width, height in (("phone", 375, 740), ("desktop", 1280, 800)):
        page.size(width, height, phone=name == "phone")
        for scheme in ("light", "dark"):
            page.scheme(scheme)
            opened(page, bench.site.url, "&device=cpu")
            generated(page)
            page.picture(f"{folder}/{name}-{scheme}-text.png")
            for dialog in ("model", "settings", "check"):
                page.click(f"#open-{dialog}")
                page.picture(f"{folder}/{name}-{scheme}-{dialog}.png")
                page.key("Escape")
    page.go(bench.site.url + "?device=cpu&model=nowhere/")
    page.until(FAULT, 60)
    page.picture(f"{folder}/desktop-dark-fault.png")


def main():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", default=os.path.join(target, "web"), help="what tools/web.sh has built")
    parser.add_argument("--program", default=os.path.join(target, "release/fairy2i-gpu"), help="to compare with")
    parser.add_argument("--pictures", metavar="FOLDER", help="where pictures of the page are written")
    parser.add_argument("--large", metavar="FOLDER", help="a packed model whose memory is measured, and nothing else")
    parser.add_argument("--only", help="the one test that is wanted")
    parser.add_argument("--quick", action="store_true", help="without checking all operations, nor the device's loss")
    options = parser.parse_args()
    with_gpu = [on_webgpu, on_plain_webgpu, agrees_on_webgpu, device_loss]
    without = [falls_back, on_the_cpu, stops, chats, by_picker, by_address, bad_files_are_refused, readable]
    without.append(agrees_on_the_cpu)
    if options.quick:
        with_gpu, without = [on_webgpu], without[:-1]
    failed = 0
    site = Site(options.site)
    site.folder = options.site
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(site, os.path.abspath(options.program), scratch)
        if options.large:
            large(bench, options.large, "gpu", WEBGPU)
            large(bench, options.large, "cpu", NO_WEBGPU)
            return
        sizes(options.site)
        for flags, tests in ((WEBGPU, with_gpu), (NO_WEBGPU, without)):
            tests = [test for test in tests if options.only in (None, test.__name__)]
            if not tests:
                continue
            with Browser(*flags) as browser:
                bench.browser = browser
                for test in tests:
                    page = browser.page()
                    page.size(1280, 800)
                    begun = time.monotonic()
                    try:
                        test(page, bench)
                        check(not page.faults, f"the page reports {page.faults}")
                        result = "ok"
                    except Failure as failure:
                        failed += 1
                        result = f"FAILED: {failure}"
                    print(f"{test.__name__}: {result} ({time.monotonic() - begun:.1f} s)", flush=True)
                    page.call("Page.close")
        if options.pictures:
            with Browser(*NO_WEBGPU) as browser:
                pictures(browser.page(), bench, options.pictures)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
