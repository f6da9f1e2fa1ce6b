//! The prose keeps its word: every command line in README.md, in the pages of `src/docs`, in the contributing notes and
//! in doc comments is understood by the program's own parser, and every relative link leads somewhere.
#![cfg(feature = "cli")]

use fairy2i_gpu::cli::parses;
use std::path::{Path, PathBuf};

/// A Markdown text and where it stands.
struct Page {
    path: PathBuf,
    text: String,
}

/// A line of a page, and whether it stands in a fenced block of code.
struct Line<'a> {
    number: usize,
    text: &'a str,
    code: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with this extension.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of the repository").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn page(path: PathBuf) -> Page {
    let text = std::fs::read_to_string(&path).expect("a text of the repository");
    Page { path, text }
}

/// README.md, the pages of `src/docs` and the contributing notes.
fn pages() -> Vec<Page> {
    let mut paths = vec![
        root().join("README.md"),
        root().join(".github/CONTRIBUTING.md"),
    ];
    files(&root().join("src/docs"), "md", &mut paths);
    paths.into_iter().map(page).collect()
}

/// The doc comments of a source file as Markdown, with the lines where they were.
fn doc_comments(path: PathBuf) -> Page {
    let mut page = page(path);
    let comment = |line: &str| {
        let line = line.trim_start();
        let text = line.strip_prefix("//!").or(line.strip_prefix("///"));
        let text = text.unwrap_or_default();
        text.strip_prefix(' ').unwrap_or(text).to_owned()
    };
    page.text = page
        .text
        .lines()
        .map(comment)
        .collect::<Vec<_>>()
        .join("\n");
    page
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(index, text)| {
        if text.trim_start().starts_with("```") {
            code = !code;
            return None;
        }
        Some(Line {
            number: index + 1,
            text,
            code,
        })
    })
}

/// The spans of a line that stand between single back-ticks.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The commands of a line of a shell, each as its words: comments, redirections and variables before it left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut skip_next = false;
    let mut letters = line.chars().peekable();
    loop {
        let letter = letters.next();
        let ends = letter.is_none_or(|c| c.is_whitespace() || "<>|;&".contains(c));
        if ends {
            if let Some(done) = word.take() {
                let file_number = letter == Some('>') && done == "2";
                if !std::mem::take(&mut skip_next) && !file_number {
                    all.last_mut().expect("one at least").push(done);
                }
            }
            match letter {
                None => break,
                Some('<' | '>') => skip_next = true,
                Some('|' | ';' | '&') => all.push(Vec::new()),
                Some(_) => {}
            }
            continue;
        }
        match letter.expect("not the end") {
            '#' if word.is_none() => break,
            quote @ ('"' | '\'') => word
                .get_or_insert_default()
                .extend(letters.by_ref().take_while(|c| *c != quote)),
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    for command in &mut all {
        let variables = |word: &&String| word.contains('=') && !word.starts_with('-');
        let count = command.iter().take_while(variables).count();
        command.drain(..count);
    }
    all.retain(|command| !command.is_empty());
    all
}

/// What a command gives to the program, if it starts it.
fn arguments(command: &[String]) -> Option<&[String]> {
    let (program, rest) = command.split_first()?;
    match program.as_str() {
        "fairy2i-gpu" => Some(rest),
        "mpirun" => {
            let at = rest.iter().position(|word| word == "fairy2i-gpu")?;
            Some(&rest[at + 1..])
        }
        "cargo" if rest.first().is_some_and(|word| word == "run") => {
            let at = rest.iter().position(|word| word == "--")?;
            (!rest[..at].contains(&"--example".to_owned())).then_some(&rest[at + 1..])
        }
        _ => None,
    }
}

/// The command lines of a page with their line numbers: in blocks of code, where `\` at an end goes on in the next line
/// and `$ ` may stand before, and in spans of code.
fn command_lines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for line in lines(text) {
        if !line.code {
            begun = None;
            found.extend(code_spans(line.text).map(|span| (line.number, span.to_owned())));
            continue;
        }
        let part = line.text.trim_end();
        let (part, goes_on) = match part.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (part, false),
        };
        let (number, before) = begun.take().unwrap_or((line.number, String::new()));
        let joined = before + part;
        if goes_on {
            begun = Some((number, joined));
        } else {
            let joined = joined.trim_start();
            found.push((
                number,
                joined.strip_prefix("$ ").unwrap_or(joined).to_owned(),
            ));
        }
    }
    found
}

/// The commands on a page that start the program, and what the parser has against them.
fn check(page: &Page) -> (usize, Vec<String>) {
    let mut count = 0;
    let mut faults = Vec::new();
    for (number, line) in command_lines(&page.text) {
        for command in commands(&line) {
            let Some(arguments) = arguments(&command) else {
                continue;
            };
            if arguments.is_empty() {
                continue; // the name of the program in a sentence
            }
            count += 1;
            if let Err(why) = parses(arguments.iter().map(Into::into)) {
                faults.push(format!("{}:{number}: {line}\n{why}", page.path.display()));
            }
        }
    }
    (count, faults)
}

#[test]
fn every_command_line_is_understood() {
    let mut pages = pages();
    let mut sources = Vec::new();
    files(&root().join("src"), "rs", &mut sources);
    pages.extend(sources.into_iter().map(doc_comments));
    let (counts, faults): (Vec<_>, Vec<_>) = pages.iter().map(check).unzip();
    let faults = faults.concat();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let readme = counts[0];
    let all: usize = counts.iter().sum();
    assert!(readme >= 10 && all >= 50, "only {readme} and {all} found");
}

#[test]
fn renamed_options_are_found() {
    let text = "Say `fairy2i-gpu generate --temprature 0 x`.\n\
        ```sh\nfairy2i-gpu bench --shape tinyllama-1.1b \\\n    --promt 4 # a comment\n\
        cargo run --release -- quantize IN OUT --stage 2\n\
        echo x | fairy2i-gpu generate --stops . < prompt.txt\n\
        RAYON_NUM_THREADS=2 fairy2i-gpu trains\n\
        $ fairy2i-gpu data --out D a.txt\n```\n";
    let page = Page {
        path: "page".into(),
        text: text.into(),
    };
    let (count, faults) = check(&page);
    let places: Vec<_> = faults.iter().map(|f| f.lines().next().unwrap()).collect();
    assert_eq!(count, 6, "{places:?}");
    assert_eq!(faults.len(), 6, "{places:?}");
    let right = text
        .replace("--temprature", "--temp")
        .replace("--promt", "--prompt")
        .replace("--stage ", "--stages ")
        .replace("--stops", "--stop")
        .replace("trains", "train --out R")
        .replace("data --out", "data --tokenizer builtin --out");
    let (count, faults) = check(&Page {
        text: right,
        ..page
    });
    assert_eq!((count, faults), (6, Vec::new()));
}

#[test]
fn shell_lines_are_split_as_a_shell_does() {
    let split =
        |line: &str| -> Vec<String> { commands(line).iter().map(|c| c.join(",")).collect() };
    assert_eq!(split("a \"b c\" 'd e' f\\ g # h"), ["a,b c,d e,f g"]);
    assert_eq!(split("a b#c < in > out 2> err -d"), ["a,b#c,-d"]);
    assert_eq!(
        split("X=1 Y=2 a b=3 | c; d && e *.txt"),
        ["a,b=3", "c", "d", "e,*.txt"]
    );
    assert_eq!(split("a ''"), ["a,"]);
    assert_eq!(split("# nothing"), [] as [&str; 0]);
}

/// Targets of links and images of a page, `[text](target)` and `[name]: target`, outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for line in lines(text).filter(|line| !line.code) {
        let prose: String = line.text.split('`').step_by(2).collect();
        for (at, _) in prose.match_indices("](") {
            let target = prose[at + 2..].split([')', ' ']).next().unwrap_or_default();
            found.push((line.number, target.to_owned()));
        }
        if let Some((name, target)) = line.text.split_once("]: ")
            && name.starts_with('[')
        {
            found.push((line.number, target.trim().to_owned()));
        }
    }
    found
}

/// The names under which a page's headings can be reached, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = lines(text).filter(|line| !line.code && line.text.starts_with('#'));
    let anchor = |line: Line<'_>| {
        let title = line.text.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn relative_links_lead_somewhere() {
    let mut count = 0;
    let mut broken = Vec::new();
    for page in pages() {
        if page.path.ends_with("src/docs/links.md") {
            continue; // paths of items, which rustdoc checks
        }
        let folder = page.path.parent().expect("a file in a folder");
        for (number, target) in links(&page.text) {
            if target.contains("://") {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = match file {
                "" => page.path.clone(),
                file => folder.join(file),
            };
            let found = match (std::fs::read_to_string(&path), anchor) {
                (Ok(_), "") => true,
                (Ok(text), anchor) => anchors(&text).iter().any(|a| a == anchor),
                (Err(_), _) => path.is_dir(),
            };
            if !found {
                broken.push(format!("{}:{number}: {target}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count >= 30, "only {count} found");
}

#[test]
fn rustdoc_shows_every_page() {
    let list = std::fs::read_to_string(root().join("src/docs/mod.rs")).expect("the list of pages");
    for page in pages() {
        if let Ok(name) = page.path.strip_prefix(root().join("src/docs")) {
            let name = name.to_str().expect("a plain name").replace('\\', "/");
            assert!(
                list.contains(&format!("\"{name}\"")),
                "{name} is not in src/docs/mod.rs"
            );
        }
    }
}

#[test]
fn the_readme_is_short_and_lines_are_narrow() {
    for page in pages() {
        let name = page.path.display();
        let count = page.text.lines().count();
        assert!(
            !page.path.ends_with("README.md") || count <= 180,
            "{name} has {count} lines"
        );
        for line in lines(&page.text).filter(|line| !line.text.starts_with('|')) {
            let width = line.text.chars().count();
            let number = line.number;
            assert!(
                width <= 124,
                "{name}:{number} has {width} columns: wrap it at 120"
            );
        }
    }
}
