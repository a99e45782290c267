//! Data flows one way: no room of `src` imports from a higher floor, or from a room to its right on its own floor, and
//! files beside each other in a folder import each other in no circle. `docs/architecture.md` draws the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up, the rooms of each from left to right.
const FLOORS: &[&[&str]] = &[
    &["error", "memory", "files", "tensor", "philox", "step", "shader"],
    &["port", "variant", "launch", "twin"],
    &["ops"],
    &["graph", "plan", "runtime", "cases"],
    &["cpu", "gpu"],
    &["tasks", "models"],
    &["config", "train", "check", "bench"],
    &["stats", "sweep", "report"],
    &["cli"],
];

/// Rooms that a room must not import although they lie lower.
const APART: &[(&str, &[&str])] = &[
    (
        "tasks",
        &[
            "port", "launch", "twin", "ops", "graph", "plan", "runtime", "cases", "cpu", "gpu",
        ],
    ),
    ("models", &["cpu", "gpu", "tasks"]),
];

fn height(room: &str) -> (usize, usize) {
    FLOORS
        .iter()
        .enumerate()
        .find_map(|(floor, rooms)| Some((floor, rooms.iter().position(|r| *r == room)?)))
        .unwrap_or_else(|| panic!("src/{room} is on no floor: add it to FLOORS and to docs/architecture.md"))
}

/// A file of `src`: its module path, and the module paths that its code names, tests and comments left out.
struct File {
    path: PathBuf,
    module: Vec<String>,
    names: BTreeSet<Vec<String>>,
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without comments, strings left as they are, and without items marked `#[cfg(test)]`.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut kept = String::new();
    let mut i = 0;
    while i < lines.len() {
        if lines[i].trim() != "#[cfg(test)]" {
            kept.push_str(lines[i]);
            kept.push('\n');
            i += 1;
            continue;
        }
        // The item that follows: up to its semicolon, or to the brace that closes it.
        let mut depth = 0i32;
        loop {
            i += 1;
            let Some(line) = lines.get(i) else { break };
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
            let ends = line.trim_end().ends_with([';', '}', ',']);
            if depth == 0 && ends {
                i += 1;
                break;
            }
        }
    }
    kept
}

/// Every path that begins with `crate` or `super`, `{..}` taken apart.
fn paths(code: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let bytes = code.as_bytes();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = at.checked_sub(1).map_or(b' ', |b| bytes[b]);
            if before.is_ascii_alphanumeric() || matches!(before, b'_' | b':' | b'$') {
                continue;
            }
            expand(&code[at..], &mut Vec::new(), &mut found);
        }
    }
    found
        .into_iter()
        .filter_map(|path| absolute(path, module))
        .collect()
}

/// Reads `a::b::{c, d::e}` at the beginning of `text`; returns what follows it.
fn expand<'a>(text: &'a str, prefix: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) -> &'a str {
    let depth = prefix.len();
    let mut rest = text.trim_start();
    loop {
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        prefix.push(rest[..end].to_owned());
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix("::") else {
            found.insert(prefix.clone());
            break;
        };
        rest = after;
        if let Some(mut list) = rest.strip_prefix('{') {
            loop {
                list = expand(list, prefix, found).trim_start();
                // `as name`
                let end = list.find([',', '}']).unwrap_or(list.len());
                list = &list[end..];
                match list.strip_prefix(',').map(str::trim_start) {
                    Some(more) if !more.starts_with('}') => list = more,
                    Some(more) => break rest = &more[1..],
                    None => break rest = list.get(1..).unwrap_or_default(),
                }
            }
            break;
        }
    }
    prefix.truncate(depth);
    rest
}

/// The path from the root of the crate.
fn absolute(path: Vec<String>, module: &[String]) -> Option<Vec<String>> {
    let mut base: Vec<String> = module.to_vec();
    let mut parts = path.into_iter().peekable();
    if parts.peek()? == "crate" {
        parts.next();
        base.clear();
    }
    while parts.peek().is_some_and(|p| p == "super") {
        parts.next();
        base.pop()?;
    }
    base.extend(parts.filter(|p| p != "self"));
    Some(base)
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    rust_files(&root, &mut found);
    found
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Vec<String> = inside
                .components()
                .map(|c| c.as_os_str().to_string_lossy().into_owned())
                .collect();
            let is_mod = module.last().is_some_and(|m| m == "mod");
            if is_mod {
                module.pop();
            }
            let name = module.last()?.clone();
            let is_test = name == "tests" || name.ends_with("_tests") || module[0] == "testing";
            if is_test || matches!(module[0].as_str(), "lib" | "main") {
                return None;
            }
            let names = paths(&code(&fs::read_to_string(&path).unwrap()), &module);
            Some(File { path, module, names })
        })
        .collect()
}

/// The room of a module: an op's cases belong to the room of cases.
fn room(module: &[String]) -> &str {
    let is_cases = module[0] == "ops" && module.last().is_some_and(|m| m == "cases");
    if is_cases { "cases" } else { &module[0] }
}

#[test]
fn no_room_imports_a_higher_one() {
    let files = files();
    let modules: BTreeSet<&[String]> = files.iter().map(|f| f.module.as_slice()).collect();
    let rooms: BTreeSet<&str> = files.iter().map(|f| f.module[0].as_str()).collect();
    let mut wrong = Vec::new();
    for file in &files {
        let own = room(&file.module);
        for name in file
            .names
            .iter()
            .filter(|n| !n.is_empty() && rooms.contains(n[0].as_str()))
        {
            // The longest prefix that is a file decides: `ops::cases` is not `ops`.
            let target = (1..=name.len())
                .rev()
                .map(|n| &name[..n])
                .find(|prefix| modules.contains(prefix))
                .unwrap_or(&name[..1]);
            let other = room(target);
            let apart = APART
                .iter()
                .any(|(room, others)| *room == own && others.contains(&other));
            if own != other && (height(other) > height(own) || apart) {
                wrong.push(format!(
                    "{}: {own} imports {}",
                    file.path.display(),
                    name.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder's files as a graph: who names whom. What `mod.rs` has, its folder may use.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut uses: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in files() {
        for name in &file.names {
            let common = file.module.iter().zip(name).take_while(|(a, b)| a == b).count();
            // Rooms are ordered by their floors.
            if common == 0 || common >= file.module.len() || common >= name.len() {
                continue;
            }
            uses.entry(file.module[..common].to_vec())
                .or_default()
                .entry(file.module[common].clone())
                .or_default()
                .insert(name[common].clone());
        }
    }
    let mut circles = Vec::new();
    for (folder, mut uses) in uses {
        // Whoever uses nobody that is left can go.
        while let Some(done) = uses
            .iter()
            .find(|(_, others)| others.iter().all(|o| !uses.contains_key(o)))
            .map(|(name, _)| name.clone())
        {
            uses.remove(&done);
        }
        if !uses.is_empty() {
            circles.push(format!("{}: {uses:?}", folder.join("::")));
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn paths_are_taken_apart() {
    let module = ["a".to_owned(), "b".to_owned()];
    let found = paths(
        "use crate::c::{self, d as e, f::{g, h}}; super::i::j(crate::k);",
        &module,
    );
    let joined: Vec<String> = found.iter().map(|p| p.join("::")).collect();
    assert_eq!(joined, ["a::i::j", "c", "c::d", "c::f::g", "c::f::h", "k"]);
    assert_eq!(
        code("a;\n#[cfg(test)]\nmod t {\n    b;\n}\n// c\nd;\n"),
        "a;\nd;\n"
    );
}
