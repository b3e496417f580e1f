//! The look of the live page in a real Chromium: in the light and in the dark, at any width, with
//! the keyboard and for a screen reader, whatever is wrong.

use fantoccini::key::Key;
use serde_json::{Value, json};
use testkit::browser::{self, Browser};
use testkit::nats::STREAM;
use testkit::ops::{Ops, watched_daemon_with};
use testkit::{Stack, eventually, setting};

const WIDTHS: [u32; 4] = [1280, 820, 600, 360];

/// Texts whose contrast to what is behind them is below that of WCAG 2.1 AA, and texts that are cut
/// off or stick out of the page.
const HARD_TO_READ: &str = r#"
    const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      const layers = [];
      for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
      return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((x, i) => x * a + under[i] * (1 - a)), [255, 255, 255]);
    };
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join(" ").trim();
      const box = element.getBoundingClientRect();
      if (!own || !box.width || element.closest(".unseen, .skip, script, noscript")) continue;
      const style = getComputedStyle(element);
      const [one, two] = [light(parse(style.color)), light(behind(element))].sort((a, b) => b - a);
      const enough = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
      if ((one + 0.05) / (two + 0.05) < enough) found.push(`contrast ${((one + 0.05) / (two + 0.05)).toFixed(1)}: ${own}`);
      if (element.closest(".scroll")) continue;
      const around = element.parentElement.closest("figure, article, header, .tile, .dependency, .headline, body").getBoundingClientRect();
      if (box.right > around.right + 1 || box.left < around.left - 1) found.push(`outside: ${own}`);
      if (style.overflow !== "visible" && element.scrollWidth > element.clientWidth + 1) found.push(`cut: ${own}`);
    }
    return found;
"#;

async fn text(browser: &Browser, id: &str) -> String {
    let script = format!("return document.getElementById('{id}').textContent");
    browser.script(&script).await.as_str().unwrap().to_owned()
}

/// Holds the page to be readable at every width, and keeps a picture of each.
async fn assert_readable(browser: &Browser, name: &str) {
    for width in WIDTHS {
        browser.client.set_window_size(width, 900).await.unwrap();
        let fits = "return innerWidth && document.documentElement.scrollWidth <= innerWidth";
        eventually("the page fits", async || {
            browser.script(fits).await.as_bool()?.then_some(())
        })
        .await;
        let found = browser.script(HARD_TO_READ).await;
        assert_eq!(found, json!([]), "{name} at {width}");
        browser::shot(browser, &format!("{name}-{width}")).await;
    }
    browser.client.set_window_size(1280, 900).await.unwrap();
}

/// Waits until the page says this in its headline, and read aloud.
async fn said(browser: &Browser, id: &str, words: &str, aloud: &str) {
    eventually(words, async || {
        text(browser, id).await.contains(words).then_some(())
    })
    .await;
    eventually(aloud, async || {
        let said = text(browser, "said").await;
        // ClickHouse's disk is this machine's, and may be full.
        let parts = said.split("; ").filter(|part| !part.contains("'s disk"));
        (parts.collect::<Vec<_>>().join("; ") == aloud).then_some(())
    })
    .await;
}

/// Presses a key where the focus is.
async fn press(browser: &Browser, key: Key) {
    let focused = browser.client.active_element().await.unwrap();
    focused
        .send_keys(&char::from(key).to_string())
        .await
        .unwrap();
}

/// Element with the focus: its id, or its name where it has none; and if a user sees the focus.
async fn focused(browser: &Browser) -> (String, bool) {
    let script = "const at = document.activeElement;
         const style = getComputedStyle(at);
         const box = at.getBoundingClientRect();
         return [at.id || at.getAttribute('aria-labelledby') || at.getAttribute('aria-label') || at.textContent,
           style.outlineStyle !== 'none' && box.width > 0 && box.left >= 0];";
    let focused: Value = browser.script(script).await;
    (
        focused[0].as_str().unwrap().to_owned(),
        focused[1].as_bool().unwrap(),
    )
}

/// Goes through the page with the keyboard alone.
async fn assert_keys_work(browser: &Browser, links: &[&str]) {
    browser.client.refresh().await.unwrap();
    eventually("the page is there again", async || {
        (text(browser, "verdict").await == "ingesting").then_some(())
    })
    .await;
    let found = "return [...document.querySelectorAll('#wrong a')].map((link) => link.getAttribute('aria-label'))";
    let found: Vec<String> = serde_json::from_value(browser.script(found).await).unwrap();
    for link in links {
        assert!(found.iter().any(|found| found == link), "{found:?}");
    }
    let mut expected = vec!["To the figures"];
    expected.extend(found.iter().map(String::as_str));
    expected.extend(["chart-rate", "chart-latency", "chart-lag"]);
    expected.extend(["chart-rows", "chart-insert", "chart-dead"]);
    expected.extend(["head-kinds", "head-batches", "head-reasons"]);
    expected.extend(["head-payloads", "head-letters"]);
    expected.extend(["runbook", "metrics", "readyz", "statusz"]);
    for name in expected {
        press(browser, Key::Tab).await;
        assert_eq!(focused(browser).await, (name.to_owned(), true));
        if name == "chart-rate" {
            press(browser, Key::Left).await;
            let aloud = text(browser, "said").await;
            assert!(
                aloud.starts_with("Throughput, ") && aloud.contains("signals "),
                "{aloud}"
            );
            press(browser, Key::Escape).await;
        }
    }
}

/// Opens the page, and waits until it shows figures.
async fn open(stack: &Stack, ops: &Ops, scheme: &str) -> Browser {
    let folder = stack.work_dir().join(scheme);
    std::fs::create_dir_all(&folder).unwrap();
    let browser = Browser::start_in(&folder, scheme).await;
    let url = format!("http://{}/", ops.address);
    browser.client.goto(&url).await.unwrap();
    let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
    assert_eq!(browser.script(is_dark).await, scheme == "dark");
    eventually("the page has figures", async || {
        let letters = text(&browser, "letters").await;
        (text(&browser, "verdict").await == "ingesting" && letters.contains("signals."))
            .then_some(())
    })
    .await;
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_can_be_read_and_reached_whatever_is_wrong() {
    if !browser::is_installed() {
        return;
    }
    let stack = Stack::start().await;
    let keep_all = setting!(stream.keep = "all");
    let (mut daemon, ops) = watched_daemon_with(&stack, &[keep_all]).await;
    stack
        .produce(&["--count=6000", "--rate=1500", "--invalid=2", "--seed=8"])
        .await;
    stack.settled().await;
    let light = open(&stack, &ops, "light").await;
    let dark = open(&stack, &ops, "dark").await;
    let pages = [(&light, "light"), (&dark, "dark")];
    for (page, scheme) in pages {
        assert_readable(page, &format!("{scheme}-well")).await;
    }
    assert_keys_work(&light, &[]).await;

    stack
        .nats
        .bound_stream(STREAM, |bytes| bytes as i64 + 100)
        .await;
    for (page, scheme) in pages {
        let aloud = format!("Ingesting; storage full: {STREAM}");
        said(page, "full", &format!("{STREAM} takes no more."), &aloud).await;
        let link = "return document.querySelector('#wrong a').getAttribute('href')";
        assert_eq!(page.script(link).await, "/runbook#risksignalstoragefull");
        assert_readable(page, &format!("{scheme}-full")).await;
    }
    assert_keys_work(
        &light,
        &[format!("What to do: storage full: {STREAM}").as_str()],
    )
    .await;

    stack.clickhouse.kill();
    for (page, scheme) in pages {
        let aloud = format!("Not ingesting; ClickHouse is down; storage full: {STREAM}");
        said(page, "wrong", "ClickHouse: ", &aloud).await;
        assert_readable(page, &format!("{scheme}-down")).await;
    }
    // Figures that change take no focus away, and nothing is repeated aloud.
    let watch = "window.news = 0;
         new MutationObserver(() => { window.news += 1; }).observe(document.getElementById('said'), { childList: true });
         document.querySelector('#wrong a').focus();
         return document.getElementById('chart-rate').dataset.last + document.querySelector('.dependency.down p').textContent;";
    let before = light.script(watch).await;
    let now = "return document.getElementById('chart-rate').dataset.last + document.querySelector('.dependency.down p').textContent";
    eventually("figures change", async || {
        (light.script(now).await != before).then_some(())
    })
    .await;
    assert_eq!(focused(&light).await.0, "What to do: ClickHouse is down");
    assert_eq!(light.script("return window.news").await, 0);
    stack.nats.bound_stream(STREAM, |_| -1).await;
    stack.clickhouse.restart().await;
    for (page, _) in pages {
        said(page, "verdict", "ingesting", "Ingesting").await;
    }
    light.close().await;
    dark.close().await;
    assert!(daemon.stop().await.success());
}
