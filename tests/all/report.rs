//! The page as a reader has it: made from a sweep that the program ran, opened in a browser, sorted, filtered, toggled,
//! downloaded. Tests that need a browser say so where there is none.

use crate::common::browser::{self, Page};
use crate::common::skipped::skipped;
use assert_cmd::Command;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

const TASK: &str = "
[grammar]
vocab = 9
ambiguities = 6
depth = 4
[data]
length = 12
train = 480
validation = 30
test = 60
test_gap = [0.1, 0.3]
[model]
d_model = 16
layers = 2
heads = 2
chunk = 16
[train]
batch = 12
lr = 0.01
warmup = 5
eval_every = 5
";
const SWEEP: &str = r#"
tasks = ["tiny.toml"]
models = ["gated_delta_net", "gla", "transformer"]
[grid]
"grammar.vocab, grammar.ambiguities, grammar.depth" = [[9, 6, 4], [13, 12, 8]]
seed = [1, 2]
"#;

fn selectiv(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("selectiv").unwrap();
    command
        .current_dir(folder)
        .env("XDG_RUNTIME_DIR", folder)
        .args(args);
    command
}

/// A sweep, two outputs of `bench` and one of `check`, made once for all tests.
fn material() -> &'static Path {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| fs::write(dir.path().join(name), text).unwrap();
        write("tiny.toml", TASK.as_bytes());
        write("sweep.toml", SWEEP.as_bytes());
        let said = |args: &[&str]| selectiv(dir.path(), args).assert().success().get_output().stdout.clone();
        said(&["sweep", "sweep.toml", "--out", "grid", "--device", "cpu", "-q"]);
        let bench = said(&["bench", "--device", "cpu", "--op", "scale", "--quick", "--json", "-q"]);
        write("BENCH-a.json", &bench);
        // Another card, twice as far from its roof.
        let mut other: Value = serde_json::from_slice(&bench).unwrap();
        other["device"] = "Another card".into();
        for entry in other["entries"].as_array_mut().unwrap() {
            entry["roof_share"] = (entry["roof_share"].as_f64().unwrap() / 2.0).into();
        }
        write("BENCH-b.json", other.to_string().as_bytes());
        let check = serde_json::json!({
            "commit": "abc1234", "device": "A card", "passed": 2, "failed": 1, "skipped": 0,
            "checks": [
                { "name": "scale tiny", "device": "plain f32", "status": "passed", "tensor": "y", "error": 1e-7, "allowed": 1e-5 },
                { "name": "linear odd", "device": "plain f32", "status": "passed", "tensor": "y", "error": 2e-6, "allowed": 1e-5 },
                { "name": "mesa odd", "device": "plain f32", "status": "failed", "tensor": "d g", "error": 0.4, "allowed": 1e-5 },
            ],
        });
        write("CHECK.json", check.to_string().as_bytes());
        dir
    });
    place.path()
}

/// The page of everything.
fn page_file() -> PathBuf {
    static PAGE: OnceLock<PathBuf> = OnceLock::new();
    PAGE.get_or_init(|| {
        let folder = material();
        let args = [
            "report",
            "grid",
            "BENCH-a.json",
            "BENCH-b.json",
            "CHECK.json",
            "--out",
            "page.html",
            "-q",
        ];
        selectiv(folder, &args).assert().success();
        folder.join("page.html")
    })
    .clone()
}

struct Opened {
    page: RefCell<Page>,
    downloads: TempDir,
}

/// Opens a file in a browser; `None` where no browser is found.
fn open(test: &str, file: &Path, size: [u32; 2]) -> Option<Opened> {
    let Some(program) = browser::find() else {
        skipped(test, "no browser");
        return None;
    };
    let downloads = tempfile::tempdir().unwrap();
    let mut page = Page::open(&program, size, downloads.path());
    page.load(file);
    Some(Opened {
        page: RefCell::new(page),
        downloads,
    })
}

/// What a page that stands alone must not do.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(format!("exception: {}", params["exceptionDetails"])),
        "Log.entryAdded" => Some(format!("log: {}", params["entry"]["text"])),
        "Network.requestWillBeSent" => {
            let url = params["request"]["url"].as_str().unwrap_or_default();
            let own = ["file:", "blob:", "data:"]
                .iter()
                .any(|scheme| url.starts_with(scheme));
            (!own).then(|| format!("request: {url}"))
        }
        _ => None,
    }
}

impl Opened {
    /// The value of an expression, awaited.
    fn value(&self, expression: &str) -> Value {
        self.page.borrow_mut().value(expression)
    }

    fn text(&self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    fn until(&self, expression: &str) {
        browser::wait(expression, || (self.value(expression) == true).then_some(()));
    }

    /// The text of a file that the page saved.
    fn saved(&self, name: &str) -> String {
        let path = self.downloads.path().join(name);
        browser::wait(name, || path.is_file().then_some(()));
        std::thread::sleep(Duration::from_millis(200));
        fs::read_to_string(path).unwrap()
    }

    fn nothing_wrong(&self) {
        let mut page = self.page.borrow_mut();
        let wrong: Vec<String> = page.events().filter_map(|event| complaint(&event)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

/// Texts of a column of the table of runs, by its key.
const COLUMN: &str = "const column = (key) => { const t = document.getElementById('runs-table'); const i = \
    [...t.tHead.rows[0].cells].findIndex(c => c.dataset.key === key); return [...t.tBodies[0].rows].filter(r => \
    !r.hidden && !r.classList.contains('off')).map(r => r.cells[i].dataset.v); };";

#[test]
fn a_reader_sorts_filters_toggles_and_downloads() {
    let Some(page) = open(
        "a_reader_sorts_filters_toggles_and_downloads",
        &page_file(),
        [1280, 900],
    ) else {
        return;
    };
    let column = |key: &str| {
        page.text(&format!(
            "(() => {{ {COLUMN} return column('{key}').join(' '); }})()"
        ))
    };
    assert_eq!(column("seed").split(' ').count(), 12);

    // Sorted by accuracy, the best first.
    page.value("document.querySelector('#runs-table th[data-key=accuracy] button').click()");
    let sorted: Vec<f64> = column("accuracy")
        .split(' ')
        .map(|x| x.parse().unwrap())
        .collect();
    assert!(sorted.is_sorted_by(|a, b| a >= b), "{sorted:?}");
    page.value("document.querySelector('#runs-table th[data-key=accuracy] button').click()");
    let sorted: Vec<f64> = column("accuracy")
        .split(' ')
        .map(|x| x.parse().unwrap())
        .collect();
    assert!(sorted.is_sorted(), "{sorted:?}");
    page.value("document.querySelectorAll('#main-table th button')[2].click()");
    let order = page.text("document.querySelector('#main-table th[aria-sort]').getAttribute('aria-sort')");
    assert_eq!(order, "ascending");

    // Filtered by text and by range.
    let filter = |key: &str, text: &str| {
        page.value(&format!(
            "(() => {{ const i = [...document.querySelectorAll('#runs-table thead tr:first-child th')].findIndex(c => \
             c.dataset.key === '{key}'); const f = document.querySelectorAll('#runs-table tr.filter input')[i]; f.value = \
             '{text}'; f.dispatchEvent(new Event('input')); }})()"
        ))
    };
    filter("model", "gla");
    filter("seed", "=2");
    assert_eq!(
        (column("model").as_str(), column("seed").as_str()),
        ("gla gla", "2 2")
    );
    assert_eq!(
        page.text("document.getElementById('runs-count').textContent"),
        "2 of 12 runs"
    );
    filter("seed", "0..1");
    assert_eq!(column("seed"), "1 1");

    // What is shown can be saved and copied.
    page.value("document.getElementById('save-csv').click()");
    let csv = page.saved("runs.csv");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(
        csv.starts_with("run_id,task,model,") && csv.contains("accuracy [%]"),
        "{csv}"
    );
    page.value("document.getElementById('save-json').click()");
    let all: Value = serde_json::from_str(&page.saved("report.json")).unwrap();
    assert_eq!(all["runs"].as_array().unwrap().len(), 12);
    assert_eq!(all["benches"].as_array().unwrap().len(), 2);
    page.value("document.getElementById('save-metrics').click()");
    assert!(page.saved("metrics.csv").lines().count() > 12 * 8);
    page.value(
        "(() => { window.copied = []; Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (t) => { \
         window.copied.push(t); } } }); for (const b of document.querySelectorAll('[data-copy]')) b.click(); })()",
    );
    page.until("window.copied.length === 3");
    let copied = page.text("window.copied.join('@@')");
    assert!(
        copied.contains("| run_id |") && copied.contains("\\begin{tabular}"),
        "{copied}"
    );
    filter("model", "");
    filter("seed", "");

    // Charts come to life where they are seen, and the legend hides a model everywhere.
    page.value("document.getElementById('learning').scrollIntoView()");
    page.until("document.querySelector('#learning .plot').dataset.live === 'yes'");
    let shown = "[...document.querySelector('#learning .live').data].filter(t => t.legendgroup === 'gla' && t.visible !== \
                 false).length";
    assert!(page.value(shown).as_u64().unwrap() > 0);
    page.value("document.querySelector('.legend button[data-for=gla]').click()");
    page.until(&format!("{shown} === 0"));
    assert_eq!(column("model").split(' ').filter(|m| *m == "gla").count(), 0);
    page.value("document.querySelector('.legend button[data-for=gla]').click()");
    page.until(&format!("{shown} > 0"));
    assert_eq!(column("model").split(' ').count(), 12);

    // The legend stays in sight, and logarithmic axes have their numbers, however narrow they are.
    page.value("document.getElementById('costs').scrollIntoView({ behavior: 'instant' })");
    page.until("document.querySelector('#costs .plot').dataset.live === 'yes'");
    let live = "[...document.querySelectorAll('#costs .plot[data-live=yes] .live')]";
    assert_eq!(
        page.value(&format!(
            "{live}.every(p => p.querySelectorAll('.xtick text').length > 1)"
        )),
        Value::Bool(true)
    );
    let top = page.value("document.querySelector('.legend').getBoundingClientRect().top");
    assert!((0.0..100.0).contains(&top.as_f64().unwrap()), "{top}");

    // Another x axis, smoothing, another theme.
    page.value(
        "(() => { const s = document.getElementById('x-axis'); s.value = 'seconds'; s.dispatchEvent(new Event('change')); \
         const m = document.getElementById('smooth'); m.value = 0.9; m.dispatchEvent(new Event('input')); })()",
    );
    page.until("document.querySelector('#learning .live').layout.xaxis.title.text === 'training time [s]'");
    page.value(
        "(() => { const t = document.getElementById('theme'); t.value = 'dark'; t.dispatchEvent(new Event('change')); })()",
    );
    assert_eq!(
        page.text("getComputedStyle(document.body).backgroundColor"),
        "rgb(21, 23, 27)"
    );

    // A link to a run leads to its row.
    page.value("document.querySelector('#table details').open = true");
    page.value("document.querySelector('#table details a').click()");
    page.until("document.querySelector('tr:target') !== null");
    page.nothing_wrong();
}

#[test]
fn nothing_is_wider_than_a_phone() {
    let Some(page) = open("nothing_is_wider_than_a_phone", &page_file(), [1280, 900]) else {
        return;
    };
    for width in [390, 1280] {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500 });
        page.page
            .borrow_mut()
            .call("Emulation.setDeviceMetricsOverride", &metrics);
        page.until("document.readyState === 'complete'");
        let wide = page.text(
            "[...document.querySelectorAll('main > section > *')].filter(e => e.getBoundingClientRect().right > \
             innerWidth + 1).map(e => e.outerHTML.slice(0, 80)).join(' ')",
        );
        assert!(wide.is_empty(), "at {width}: {wide}");
        assert_eq!(
            page.value("document.documentElement.scrollWidth <= innerWidth"),
            Value::Bool(true)
        );
    }
    page.nothing_wrong();
}

#[test]
fn every_axis_and_column_has_its_name() {
    let html = fs::read_to_string(page_file()).unwrap();
    for part in [
        "test accuracy [%]",
        "training loss [nats a step]",
        "validation accuracy [%]",
        "state of a sequence, token by token [bytes]",
        "training time [s]",
        "gap in the test, mean [s]",
        "time over what the roof allows",
        "Another card",
        "plain f32, mesa odd (d g): failed, error 0.400, allowed 1.00e-5",
        "All times of ops as a table",
        "commit abc1234",
    ] {
        assert!(html.contains(part), "no {part}");
    }
    // Every run behind a figure has its row.
    let rows = html.matches("<tr id=\"r").count();
    assert_eq!(rows, 12);
    for link in html.split("href=\"#r").skip(1) {
        let digits: String = link.chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() {
            assert!(digits.parse::<usize>().unwrap() < rows);
        }
    }
}

#[test]
fn a_single_run_makes_a_page_and_plots_too() {
    let folder = material();
    let run = fs::read_dir(folder.join("grid"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("result.json").is_file())
        .unwrap();
    let run = run.to_str().unwrap();
    selectiv(
        folder,
        &["report", run, "--out", "one.html", "--plots", "plots", "-q"],
    )
    .assert()
    .success();
    let html = fs::read_to_string(folder.join("one.html")).unwrap();
    assert!(
        html.contains("<b>1</b> run ") && html.contains("id=\"learning\"") && !html.contains("id=\"speed\"")
    );
    let plots: Vec<String> = fs::read_dir(folder.join("plots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in ["learning-accuracy-1.svg", "learning-accuracy-1.png"] {
        assert!(plots.iter().any(|plot| plot == name), "{plots:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_nothing_is_written() {
    let folder = material();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("empty.json", "{}");
    write(
        "broken.json",
        "{\"checks\": [{\"name\": 1}], \"commit\": \"a\", \"passed\": 0, \"failed\": 0, \"skipped\": 0}",
    );
    fs::create_dir_all(folder.join("nothing")).unwrap();
    for (path, part) in [
        ("empty.json", "empty.json: has neither `entries`"),
        (
            "broken.json",
            "broken.json: no output of `selectiv check --json`: invalid type: integer `1`",
        ),
        (
            "nothing",
            "nothing: holds no run (config.toml) and no sweep (plan.json)",
        ),
        ("tiny.toml", "tiny.toml: no output of"),
    ] {
        let output = selectiv(folder, &["report", path, "--out", "refused.html"])
            .assert()
            .code(2)
            .get_output()
            .clone();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(part), "{path}: {said}");
        assert!(output.stdout.is_empty() && !folder.join("refused.html").exists());
    }
    let args = ["report", "BENCH-a.json", "--out", "BENCH-a.json"];
    selectiv(folder, &args).assert().code(2);
}

#[test]
fn runs_are_listed() {
    let folder = material();
    let listed = selectiv(folder, &["runs", "grid", "--json"]).assert().success();
    let listed: Value = serde_json::from_slice(&listed.get_output().stdout).unwrap();
    let runs = listed.as_array().unwrap();
    assert_eq!(runs.len(), 12);
    assert!(runs.iter().all(|run| run["state"] == "done" && run["step"] == 40));
    let table = selectiv(folder, &["runs", "grid"]).assert().success();
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    selectiv(folder, &["runs", "nowhere"]).assert().code(2);
}

#[test]
fn shells_and_man_know_every_command() {
    let folder = material();
    for shell in ["bash", "zsh", "fish"] {
        let said = selectiv(folder, &["completions", shell]).assert().success();
        let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
        assert!(["sweep", "report", "runs"].iter().all(|name| said.contains(name)));
    }
    let page = selectiv(folder, &["man", "report"]).assert().success();
    assert!(String::from_utf8_lossy(&page.get_output().stdout).contains("\\-\\-plots"));
    selectiv(folder, &["man", "--out", "manual"]).assert().success();
    assert!(folder.join("manual/selectiv-sweep.1").is_file());
    selectiv(folder, &["man", "dance"]).assert().code(2);
}
