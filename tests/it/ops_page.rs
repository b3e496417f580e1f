//! The live page in a real Chromium.

use testkit::browser::{self, Browser, shot};
use testkit::ops::watched_daemon;
use testkit::{Stack, eventually};

/// The newest point of a chart.
async fn newest(browser: &Browser, chart: &str) -> Option<f64> {
    let script = format!("return document.getElementById('chart-{chart}').dataset.last || ''");
    let last = browser.script(&script).await;
    last.as_str()?.split(',').next()?.parse().ok()
}

/// Reports if a chart's canvas shows a line: pixels of the line's colour.
async fn is_drawn(browser: &Browser, chart: &str) -> bool {
    let script = format!(
        "const canvas = document.querySelector('#chart-{chart} canvas');
         if (!canvas) return 0;
         const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
         let coloured = 0;
         for (let i = 0; i < data.length; i += 4) {{
           const [r, g, b, a] = data.slice(i, i + 4);
           if (a > 200 && Math.max(r, g, b) - Math.min(r, g, b) > 80) coloured += 1;
         }}
         return coloured;"
    );
    browser.script(&script).await.as_u64().unwrap() > 20
}

async fn state(browser: &Browser, dependency: &str) -> Option<String> {
    let script =
        format!("return document.querySelector('[data-name={dependency}]')?.dataset.state || ''");
    browser.script(&script).await.as_str().map(str::to_owned)
}

async fn text(browser: &Browser, id: &str) -> String {
    let script = format!("return document.getElementById('{id}').textContent");
    browser.script(&script).await.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_moves_under_load_turns_red_and_recovers() {
    if !browser::is_installed() {
        return;
    }
    let stack = Stack::start().await;
    let (mut daemon, ops) = watched_daemon(&stack).await;
    let browser = Browser::start(&stack.work_dir()).await;
    browser.client.set_window_size(1280, 900).await.unwrap();
    browser
        .client
        .goto(&format!("http://{}/", ops.address))
        .await
        .unwrap();
    eventually("the page says that all is well", async || {
        (text(&browser, "verdict").await == "ingesting").then_some(())
    })
    .await;
    shot(&browser, "empty").await;

    let load = stack.produce(&["--count=80000", "--rate=2500", "--invalid=2", "--seed=8"]);
    let look = async {
        under_load(&browser).await;
        stack.clickhouse.kill();
        stopped_and_back(&browser, &stack).await;
    };
    tokio::join!(load, look);
    stack.settled().await;

    let problems = browser
        .client
        .execute("return window.problems || []", vec![]);
    assert_eq!(problems.await.unwrap(), serde_json::json!([]));
    browser.close().await;
    assert!(daemon.stop().await.success());
}

async fn under_load(browser: &Browser) {
    // The page may do nothing that its policy forbids.
    browser
        .script(
            "window.problems = [];
             addEventListener('securitypolicyviolation', (e) => problems.push(e.violatedDirective));
             addEventListener('error', (e) => problems.push(String(e.message)));",
        )
        .await;
    for chart in ["rate", "latency", "rows", "insert", "dead"] {
        eventually(chart, async || {
            (newest(browser, chart).await? > 0.0).then_some(())
        })
        .await;
        eventually("its line is drawn", async || {
            is_drawn(browser, chart).await.then_some(())
        })
        .await;
    }
    let points = "return Number(document.getElementById('chart-rate').dataset.points)";
    let before = browser.script(points).await.as_u64().unwrap();
    eventually("the charts move", async || {
        (browser.script(points).await.as_u64()? >= before + 8).then_some(())
    })
    .await;
    assert!(text(browser, "kinds").await.contains("transaction"));
    assert!(text(browser, "letters").await.contains("signals."));
    assert!(text(browser, "reasons").await.contains("breaks rules"));
    assert_ne!(text(browser, "now-p99").await, "–");
    shot(browser, "light").await;
    browser.client.set_window_size(360, 800).await.unwrap();
    // What is wider than a phone scrolls within its own box.
    let fits = "return document.documentElement.scrollWidth <= innerWidth";
    eventually("the page fits", async || {
        browser.script(fits).await.as_bool()?.then_some(())
    })
    .await;
    shot(browser, "narrow").await;
    browser.client.set_window_size(1280, 900).await.unwrap();
}

/// A page that is opened in an outage shows what was before.
async fn opened_in_an_outage(browser: &Browser) {
    browser.client.refresh().await.unwrap();
    for chart in ["rate", "latency", "rows"] {
        eventually("the history is drawn", async || {
            is_drawn(browser, chart).await.then_some(())
        })
        .await;
    }
    // The crosshair of one chart is that of all, also by the keyboard.
    let keys = "document.getElementById('chart-rate').focus();
         document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'Home', bubbles: true }));
         document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
         return [...document.querySelectorAll('.chart')].map((chart) => chart.getAttribute('aria-label'));";
    let labels = browser.script(keys).await;
    let labels: Vec<&str> = labels
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let moment = |label: &&str| {
        label
            .split_once(", ")
            .unwrap()
            .1
            .split_once(": ")
            .unwrap()
            .0
            .to_owned()
    };
    let moments: Vec<String> = labels.iter().map(moment).collect();
    assert!(moments[0].contains(':'), "{labels:?}");
    assert!(moments.iter().all(|one| *one == moments[0]), "{labels:?}");
    // No row of the page has a hole at any width.
    for width in [1280, 820, 600] {
        browser.client.set_window_size(width, 900).await.unwrap();
        let holes = "const rows = {};
             for (const box of document.querySelectorAll('.dependency, .tile, figure, article')) {
               const { top, right } = box.getBoundingClientRect();
               const key = box.parentElement.className + Math.round(top);
               rows[key] = Math.max(rows[key] || 0, right);
             }
             const edge = document.getElementById('main').getBoundingClientRect().right;
             return Object.values(rows).filter((right) => edge - right > 2).length;";
        eventually("no row has a hole", async || {
            (browser.script(holes).await == 0).then_some(())
        })
        .await;
        shot(browser, &format!("stopped-{width}")).await;
    }
    browser.client.set_window_size(1280, 900).await.unwrap();
}

async fn stopped_and_back(browser: &Browser, stack: &Stack) {
    eventually("ClickHouse is red", async || {
        (state(browser, "clickhouse").await? == "down").then_some(())
    })
    .await;
    assert_eq!(text(browser, "verdict").await, "not ingesting");
    assert_eq!(
        text(browser, "lost").await,
        "No loss since the daemon's start: signals wait in JetStream."
    );
    let wrong = text(browser, "wrong").await;
    assert!(wrong.contains("ClickHouse: "), "{wrong}");
    let link = "return document.querySelector('#wrong a').getAttribute('href')";
    assert_eq!(browser.script(link).await, "/runbook#clickhouse-is-down");
    let title = browser.script("return document.title").await;
    assert_eq!(title, "✗ not ingesting – RiskSignal Ingest");
    let icon = "return document.getElementById('icon').getAttribute('href')";
    assert_eq!(browser.script(icon).await, "/icon-down.svg");
    opened_in_an_outage(browser).await;
    shot(browser, "stopped").await;
    stack.clickhouse.restart().await;
    eventually("ClickHouse is back", async || {
        (state(browser, "clickhouse").await? == "up").then_some(())
    })
    .await;
    eventually("all is well", async || {
        (text(browser, "verdict").await == "ingesting").then_some(())
    })
    .await;
}
