//! The text of a shader file: what it declares, what it uses, and what its head says about both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A file of `shaders/`.
pub struct Source {
    pub stem: String,
    pub text: String,
    /// Module-level names.
    pub declared: BTreeSet<String>,
    /// Names of functions among them.
    pub functions: BTreeSet<String>,
    /// Names it uses and neither declares nor shadows: those of other files, and what WGSL has.
    pub used: BTreeSet<String>,
    /// Labelled lines of its head, each with its continuation lines.
    pub labels: BTreeMap<String, String>,
}

impl Source {
    pub fn new(stem: &str, text: &str) -> Self {
        let (mut declared, mut functions, mut used) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for item in items(&tokens(text)) {
            let Some((kind, name)) = declaration(&item) else {
                continue;
            };
            if kind == "fn" {
                functions.insert(name.clone());
            }
            declared.insert(name);
            used.extend(uses(&item));
        }
        used.retain(|name| !declared.contains(name));
        Self {
            stem: stem.to_owned(),
            text: text.to_owned(),
            declared,
            functions,
            used,
            labels: labels(text),
        }
    }

    /// The names behind a label, separated by commas.
    pub fn names(&self, label: &str) -> BTreeSet<String> {
        let list = self.labels.get(label).map_or("", String::as_str);
        let names = list.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// All shader files below a folder of `shaders/`, sorted; without those of folders in it.
pub fn read(wing: &str) -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("shaders")
        .join(wing);
    let entries = std::fs::read_dir(&folder).expect("a folder of shaders");
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "wgsl"));
    paths.sort();
    let sources = paths.iter().map(|path| {
        let stem = path.file_stem().expect("a name").to_string_lossy();
        Source::new(&stem, &std::fs::read_to_string(path).expect("readable"))
    });
    sources.collect()
}

/// The folders with kernels.
pub fn wings() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let entries = std::fs::read_dir(folder).expect("a folder of shaders");
    let paths = entries.map(|e| e.expect("an entry").path());
    let folders = paths.filter(|p| p.is_dir() && !p.ends_with("lib"));
    let name = |p: std::path::PathBuf| {
        p.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let mut names: Vec<_> = folders.map(name).collect();
    names.sort();
    names
}

/// The labelled lines of the comments that a file begins with: `// Label: text`, continued by indented lines.
fn labels(text: &str) -> BTreeMap<String, String> {
    let head = text.lines().map_while(|line| line.strip_prefix("//"));
    let mut labels = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in head {
        if line.starts_with("   ") {
            if let Some(text) = last.as_ref().and_then(|l: &String| labels.get_mut(l)) {
                *text = format!("{text} {}", line.trim());
            }
        } else if let Some((label, text)) = line.trim().split_once(": ")
            && LABELS.contains(&label)
        {
            last = Some(label.to_owned());
            labels.insert(label.to_owned(), text.trim().to_owned());
        } else {
            last = None;
        }
    }
    labels
}

/// What heads are parsed for.
pub const LABELS: &[&str] = &[
    "Computes",
    "Inputs",
    "Work split",
    "Shapes",
    "Requires",
    "Provides",
];

/// Identifiers, numbers and single characters, without comments.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let number = |c: char| word(c) || c == '.';
            let end = match first {
                '0'..='9' => rest.find(|c| !number(c)),
                c if word(c) => rest.find(|c| !word(c)),
                _ => Some(first.len_utf8()),
            };
            let (token, behind) = rest.split_at(end.unwrap_or(rest.len()));
            tokens.push(token.to_owned());
            rest = behind.trim_start();
        }
    }
    tokens
}

/// Module-level declarations: up to a semicolon, or to the end of a body in braces.
fn items(tokens: &[String]) -> Vec<Vec<String>> {
    let (mut items, mut item, mut depth) = (Vec::new(), Vec::new(), 0usize);
    for token in tokens {
        item.push(token.clone());
        match token.as_str() {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}") {
            items.push(std::mem::take(&mut item));
        }
    }
    items
}

/// The keyword and the name of a declaration.
fn declaration(item: &[String]) -> Option<(&str, String)> {
    const KINDS: &[&str] = &["fn", "struct", "alias", "const", "override", "var"];
    let at = item.iter().position(|t| KINDS.contains(&t.as_str()))?;
    let mut behind = item[at + 1..].iter();
    if behind.as_slice().first().is_some_and(|t| t == "<") {
        behind.find(|t| *t == ">");
    }
    Some((&item[at], behind.next()?.clone()))
}

/// Names that a declaration uses: neither members nor names that it gives itself.
fn uses(item: &[String]) -> BTreeSet<String> {
    let name = |t: &str| t.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let before = |i: usize| i.checked_sub(1).map_or("", |i| item[i].as_str());
    let mut own = BTreeSet::new();
    for (i, token) in item.iter().enumerate() {
        let declares = matches!(before(i), "let" | "var" | "const");
        if name(token) && (declares || item.get(i + 1).is_some_and(|t| t == ":")) {
            own.insert(token.as_str());
        }
    }
    let all = item.iter().enumerate();
    let used = all
        .filter(|(i, t)| name(t) && !matches!(before(*i), "." | "@") && !own.contains(t.as_str()));
    used.map(|(_, t)| t.clone()).collect()
}

#[test]
fn a_file_is_read_as_it_is_meant() {
    let source = Source::new(
        "twice",
        "// What it is: nothing.\n// Requires: b,\n//    p\n// Provides: twice_of, T\n\n\
         alias T = vec2<u32>;\noverride LEN = 2u * OTHER;\nvar<workgroup> w: array<T, LEN>;\n\
         struct S {\n    p: u32, // q\n    r: T,\n}\n\
         @must_use fn twice_of(x: u32, y: S) -> T {\n    let z = b(x) + y.q * p.n;\n    return w[z] * 2.0;\n}\n",
    );
    let set =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|n| (*n).to_owned()).collect() };
    assert_eq!(source.declared, set(&["T", "LEN", "w", "S", "twice_of"]));
    assert_eq!(source.functions, set(&["twice_of"]));
    assert_eq!(source.names("Requires"), set(&["b", "p"]));
    assert_eq!(source.names("Provides"), set(&["twice_of", "T"]));
    for name in ["OTHER", "b", "p"] {
        assert!(source.used.contains(name), "{name}: {:?}", source.used);
    }
    for name in ["q", "r", "n", "x", "y", "z"] {
        assert!(!source.used.contains(name), "{name}: {:?}", source.used);
    }
}
