//! What the heads of kernels and libraries say, compared with what the files do, and how they are linked.

use crate::inspect::style;
use crate::source::{Source, read, wings};
use fairy2i_gpu::backend::translate::pipelines;
use std::collections::{BTreeMap, BTreeSet};

/// What the head of a kernel says, in this order.
const KERNEL: &[&str] = &["Computes", "Inputs", "Work split", "Shapes"];

/// A kernel with the libraries that are linked to it, as positions in the list of all libraries, in their order. What the
/// op adds comes last.
struct Linked<'a> {
    kernel: &'a Source,
    libraries: Vec<usize>,
}

impl Linked<'_> {
    /// All files, the kernel first.
    fn files<'a>(&'a self, all: &'a [Source]) -> impl Iterator<Item = &'a Source> {
        std::iter::once(self.kernel).chain(self.libraries.iter().map(|&i| &all[i]))
    }
}

/// Which libraries every pipeline is made of: their texts are found in its text.
fn linked<'a>(kernels: &'a [Source], libraries: &[Source]) -> Vec<Linked<'a>> {
    let mut found = BTreeMap::new();
    for pipeline in pipelines(&|_| true) {
        let kernel = kernels.iter().find(|k| k.stem == pipeline.shader.entry);
        let kernel = kernel.unwrap_or_else(|| panic!("no file of {}", pipeline.shader.entry));
        let behind = pipeline.shader.source.strip_prefix(&kernel.text);
        let behind = behind.expect("the kernel comes first").to_owned() + pipeline.prelude;
        let places = libraries.iter().enumerate();
        let mut places: Vec<_> = places
            .filter_map(|(i, library)| Some((behind.find(&library.text)?, i)))
            .collect();
        places.sort_unstable();
        let libraries: Vec<_> = places.iter().map(|p| p.1).collect();
        found
            .entry((pipeline.shader.stem, libraries))
            .or_insert(kernel);
    }
    let linked = found
        .into_iter()
        .map(|((_, libraries), kernel)| Linked { kernel, libraries });
    linked.collect()
}

/// The first word of a library's name: what its functions' names begin with, and those of its relatives.
fn family(stem: &str) -> &str {
    let word = stem.split('_').next().unwrap_or(stem);
    word.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// What is wrong with a library by itself.
fn library(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let provided = source.names("Provides");
    if provided.is_empty() {
        wrong.push("provides nothing".to_owned());
    }
    for name in provided.difference(&source.declared) {
        wrong.push(format!("provides `{name}`, which it does not declare"));
    }
    for name in source.names("Requires").difference(&source.used) {
        wrong.push(format!("requires `{name}`, which it does not use"));
    }
    let family = family(&source.stem);
    for name in source.functions.iter().filter(|f| !f.starts_with(family)) {
        wrong.push(format!("`{name}` does not begin with `{family}`"));
    }
    wrong.extend(style(&source.text).err());
    wrong
}

/// What is wrong with the files of a kernel together.
fn together(linked: &Linked<'_>, all: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    let files: Vec<_> = linked.files(all).collect();
    for (i, file) in files.iter().enumerate() {
        for name in &file.declared {
            if let Some(other) = owners.insert(name, i) {
                let other = &files[other].stem;
                wrong.push(format!("`{name}` is in {other} and {}", file.stem));
            }
        }
    }
    for i in 0..files.len() {
        wrong.extend(uses(&files, i, &owners));
        let mut others = files.iter().enumerate().filter(|(j, _)| *j != i);
        let used = |f: &Source| f.used.iter().any(|n| files[i].declared.contains(n));
        if i > 0 && !others.any(|(_, f)| used(f)) {
            wrong.push(format!("nothing of {} is used", files[i].stem));
        }
    }
    wrong
}

/// What is wrong with the names that file `i` uses of the others; the kernel is file 0.
fn uses(files: &[&Source], i: usize, owners: &BTreeMap<&str, usize>) -> Vec<String> {
    let mut wrong = Vec::new();
    let file = files[i];
    let required = file.names("Requires");
    for name in &file.used {
        let Some(&owner) = owners.get(name.as_str()) else {
            continue;
        };
        if i > 0 && !required.contains(name) {
            wrong.push(format!(
                "{} uses `{name}` and does not require it",
                file.stem
            ));
        }
        let library = files[owner];
        if owner > 0 && !library.names("Provides").contains(name) {
            wrong.push(format!("{} does not provide `{name}`", library.stem));
        }
        if i > 0 && owner > i && !in_prelude(library) {
            wrong.push(format!("{} stands before {}", file.stem, library.stem));
        }
    }
    let nobody = required.iter().filter(|n| !owners.contains_key(n.as_str()));
    wrong.extend(nobody.map(|n| format!("{} requires `{n}`, which nobody has", file.stem)));
    wrong
}

/// Whether an op adds the library behind all others, because overrides cannot choose types: it has relatives with another
/// ending that declare the same names.
fn in_prelude(library: &Source) -> bool {
    const CHOSEN: &[&str] = &["codes_", "columns_", "words_", "kv_", "transposed"];
    CHOSEN.iter().any(|c| library.stem.starts_with(c))
}

#[test]
fn libraries_say_what_they_require_and_provide() {
    let libraries = read("lib");
    let kernels: Vec<_> = wings().iter().flat_map(|wing| read(wing)).collect();
    let mut wrong = Vec::new();
    for source in &libraries {
        let each = library(source).into_iter();
        wrong.extend(each.map(|what| format!("lib/{}.wgsl {what}", source.stem)));
    }
    let linked = linked(&kernels, &libraries);
    let (mut linked_to, mut used) = (BTreeSet::new(), BTreeSet::new());
    for one in &linked {
        let each = together(one, &libraries).into_iter();
        wrong.extend(each.map(|what| format!("{}: {what}", one.kernel.stem)));
        linked_to.extend(one.libraries.iter().copied());
        used.extend(one.files(&libraries).flat_map(|f| &f.used));
    }
    for (i, source) in libraries.iter().enumerate() {
        if !linked_to.contains(&i) {
            wrong.push(format!("lib/{}.wgsl belongs to no kernel", source.stem));
        }
        for name in source
            .names("Provides")
            .iter()
            .filter(|n| !used.contains(n))
        {
            wrong.push(format!(
                "lib/{}.wgsl provides `{name}`, which nobody uses",
                source.stem
            ));
        }
    }
    assert!(
        linked.len() > 60 && linked_to.len() > 40,
        "{} kernels",
        linked.len()
    );
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn stand_ins_declare_what_their_originals_provide() {
    let libraries = read("lib");
    let plain = read("lib/plain");
    assert!(!plain.is_empty());
    for stand_in in &plain {
        let original = libraries.iter().find(|l| l.stem == stand_in.stem);
        let original = original.unwrap_or_else(|| panic!("lib/{}.wgsl is missing", stand_in.stem));
        assert_eq!(style(&stand_in.text), Ok(()), "{}", stand_in.stem);
        assert_eq!(
            stand_in.declared,
            original.names("Provides"),
            "{}",
            stand_in.stem
        );
        let from_lib = format!("plain/{}.wgsl", stand_in.stem);
        assert!(
            original.text.contains(&from_lib),
            "lib/{} does not name it",
            stand_in.stem
        );
    }
}

#[test]
fn kernels_say_what_they_compute() {
    let mut wrong = Vec::new();
    let kernels: Vec<_> = wings().iter().flat_map(|wing| read(wing)).collect();
    for kernel in &kernels {
        let missing = KERNEL
            .iter()
            .filter(|l| kernel.labels.get(**l).is_none_or(String::is_empty));
        wrong.extend(
            missing.map(|label| format!("{}.wgsl has no line `// {label}: `", kernel.stem)),
        );
        let places: Vec<_> = KERNEL
            .iter()
            .filter_map(|l| kernel.text.find(&format!("// {l}: ")))
            .collect();
        if !places.is_sorted() || places.first().is_some_and(|&first| first != 0) {
            wrong.push(format!(
                "{}.wgsl does not begin with {KERNEL:?}",
                kernel.stem
            ));
        }
    }
    assert!(
        kernels.len() > 50 && wrong.is_empty(),
        "{}",
        wrong.join("\n")
    );
}

#[test]
fn what_is_wrong_with_libraries_is_caught() {
    let kernel = || Source::new("k", "fn k() { one_of(p); }\nvar<uniform> p: u32;\n");
    let one =
        "// One.\n// Requires: two_of\n// Provides: one_of\n\nfn one_of(x: u32) { two_of(x); }\n";
    let two = "// Two.\n// Provides: two_of\n\nfn two_of(x: u32) {}\n";
    let check = |one: &str, two: &str, order: Vec<usize>| {
        let all = [Source::new("one", one), Source::new("two", two)];
        let kernel = kernel();
        let mut wrong: Vec<_> = all.iter().flat_map(library).collect();
        wrong.extend(together(
            &Linked {
                kernel: &kernel,
                libraries: order,
            },
            &all,
        ));
        wrong.join("\n")
    };
    assert_eq!(check(one, two, vec![1, 0]), "");
    let caught = |change: (&str, &str), with: &str| {
        assert!(one.contains(change.0));
        let error = check(&one.replace(change.0, change.1), two, vec![1, 0]);
        assert!(error.contains(with), "{change:?}: {error}");
    };
    caught(("// Requires: two_of\n", ""), "does not require it");
    caught(
        ("Requires: two_of", "Requires: two_of, three"),
        "does not use",
    );
    caught(
        ("Provides: one_of", "Provides: one_of, other"),
        "does not declare",
    );
    caught(("// Provides: one_of\n", ""), "does not provide `one_of`");
    caught(
        ("{ two_of(x); }", "{ two_of(x); }\nfn helper() {}"),
        "does not begin with `one`",
    );
    caught(("{ two_of(x); }", "{}"), "nothing of two is used");
    assert!(check(one, two, vec![0, 1]).contains("one stands before two"));
    assert!(check(one, two, vec![0]).contains("requires `two_of`, which nobody has"));
    let twice = format!("{two}fn one_of(x: u32) {{}}\n");
    assert!(check(one, &twice, vec![1, 0]).contains("`one_of` is in"));
}
