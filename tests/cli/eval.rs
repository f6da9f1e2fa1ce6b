//! Perplexities and tasks as people ask for them.

use super::small::{self, Files};
use super::{good, json, refused};
use serde_json::Value;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");

/// A file in a folder of its own with the first characters of a text.
fn text(name: &str, characters: usize) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read_to_string(format!("{DATA}/text/tinystories_val.txt"));
    let begin: String = whole.expect("a text").chars().take(characters).collect();
    let path = folder.path().join(name);
    std::fs::write(&path, begin).expect("written");
    let path = path.to_string_lossy().into_owned();
    (folder, path)
}

fn number(row: &Value, name: &str) -> f64 {
    let number = row[name].as_f64();
    number.unwrap_or_else(|| panic!("{name} is no number: {row}"))
}

#[test]
fn perplexities_in_json() {
    let (_folder, path) = text("a.txt", 3000);
    let base = [
        "eval", "ppl", "-m", STORIES, "--block", "128", "--json", &path,
    ];
    for (protocol, counted) in [
        ("blocks", 127),
        ("llama-perplexity", 63),
        ("strided", 0),
        ("paper", 0),
        ("papers", 0),
    ] {
        let rows = json(&[&base[..], &["--protocol", protocol]].concat());
        let row = &rows[0];
        assert_eq!(rows.as_array().map(Vec::len), Some(1));
        assert_eq!(row["file"], path.as_str());
        let (tokens, nll) = (number(row, "tokens"), number(row, "mean_nll"));
        assert!((number(row, "ppl") - nll.exp()).abs() < 1e-9 * nll.exp());
        assert!(nll > 0.5 && nll < 4.0, "{row}");
        assert!(number(row, "standard_error") > 0.0 && number(row, "bits_per_byte") > 0.3);
        if counted > 0 {
            assert_eq!(tokens, number(row, "windows") * f64::from(counted), "{row}");
        }
    }
}

/// The first row is the base of the differences; full precision is its own reference.
#[test]
fn sweeps_have_differences_and_divergences() {
    let (_folder, path) = text("a.txt", 4000);
    let args = [
        "eval",
        "ppl",
        "-m",
        STORIES,
        "-c",
        "128",
        "--stages",
        "full,1,3",
        "--granularity",
        "tensor,tile:64",
        "--reference",
        STORIES,
        "--json",
        &path,
    ];
    let rows = json(&args);
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 5);
    assert!(rows[0]["difference"].is_null() && rows[0]["stages"].is_null());
    assert!(number(&rows[0]["divergence"], "mean").abs() < 1e-5);
    assert_eq!(number(&rows[0]["divergence"], "top1_agreement"), 1.0);
    for row in &rows[1..] {
        let (d, first) = (&row["difference"], number(&rows[0], "mean_nll"));
        assert!((number(d, "mean_nll") - (number(row, "mean_nll") - first)).abs() < 1e-9);
        assert_eq!(d["significant"], true, "{row}");
        assert!(number(&row["divergence"], "mean") > 0.01, "{row}");
    }
    // three stages lose less than one
    assert!(number(&rows[3]["divergence"], "mean") < number(&rows[1]["divergence"], "mean"));
    let table = good(&[
        "eval", "ppl", "-m", STORIES, "-c", "128", "--stages", "2,3", &path,
    ]);
    assert!(
        table.contains("loss against the first") && table.contains("stages 3"),
        "{table}"
    );
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let (folder, path) = text("a.txt", 2000);
    let empty = folder.path().join("empty.txt");
    std::fs::write(&empty, "Once").expect("written");
    let empty = empty.to_string_lossy();
    let ppl = |args: &[&str], code, names: &[&str]| {
        refused(
            &[&["eval", "ppl", "-m", STORIES][..], args].concat(),
            code,
            names,
        );
    };
    ppl(&["--block", "513", &path], 2, &["--block 513", "512"]);
    ppl(&["--stride", "8", &path], 2, &["--stride"]);
    ppl(
        &["--protocol", "strided", "-c", "64", "--stride", "65", &path],
        2,
        &["65"],
    );
    ppl(
        &["--block", "64", &empty],
        2,
        &["empty.txt", "fills no block of 64"],
    );
    ppl(&["--block", "64", "/no/such/file"], 2, &["/no/such/file"]);
    ppl(
        &["--reference", "/no/such/folder", &path],
        2,
        &["/no/such/folder"],
    );
    let mut json = small::config_json();
    json["vocab_size"] = 300.into();
    let tensors = small::tensors(&small::config(&json), None);
    let other = small::on_disk(&Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), small::container(&tensors)),
    ]));
    let other = other.path().to_string_lossy();
    let args = ["--block", "64", "--reference", &other, &path];
    ppl(&args, 2, &["vocabulary"]);
}

#[test]
fn tasks_by_their_columns() {
    for (file, n, lengths) in [
        ("arc", 3, true),
        ("boolq", 2, false),
        ("hellaswag", 2, true),
    ] {
        let path = format!("{DATA}/tasks/{file}.parquet");
        let rows = json(&["eval", "tasks", "-m", STORIES, "--json", &path]);
        let row = &rows[0];
        assert_eq!(
            (row["task"].as_str(), row["n"].as_u64()),
            (Some(file), Some(n))
        );
        assert_eq!(row["acc_norm"].is_f64(), lengths, "{row}");
        let questions = row["questions"].as_array().expect("questions");
        assert_eq!(questions.len() as u64, n);
        for question in questions {
            let likelihoods = question["log_likelihoods"].as_array().expect("a list");
            assert!(likelihoods.len() >= 2);
            assert!(
                likelihoods
                    .iter()
                    .all(|l| l.as_f64().is_some_and(|l| l < 0.0))
            );
        }
        let right = questions
            .iter()
            .filter(|q| q["choice"] == q["gold"])
            .count();
        assert!((number(row, "acc") - right as f64 / n as f64).abs() < 1e-12);
    }
}

#[test]
fn an_offset_leaves_the_others_as_they_are() {
    let path = format!("{DATA}/tasks/arc.parquet");
    let ask = |args: &[&str]| {
        let all = ["eval", "tasks", "-m", STORIES, "--json", &path];
        json(&[&all[..], args].concat())[0]["questions"].clone()
    };
    for shots in ["0", "1"] {
        let whole = ask(&["--shots", shots]);
        let last = ask(&["--shots", shots, "--offset", "2"]);
        let close = |a: &Value, b: &Value| {
            let pairs = a
                .as_array()
                .into_iter()
                .flatten()
                .zip(b.as_array().into_iter().flatten());
            pairs
                .into_iter()
                .all(|(a, b)| (a.as_f64().unwrap_or(1.0) - b.as_f64().unwrap_or(2.0)).abs() < 1e-3)
        };
        assert_eq!(last.as_array().map(Vec::len), Some(1));
        assert!(
            close(&whole[2]["log_likelihoods"], &last[0]["log_likelihoods"]),
            "{whole} {last}"
        );
    }
    // an example before a question changes what is said of it
    assert_ne!(ask(&["--shots", "1"]), ask(&[]));
    let pool = format!("{DATA}/tasks/boolq.parquet");
    assert_ne!(
        ask(&["--shots", "1", "--examples", &pool]),
        ask(&["--shots", "1"])
    );
}

#[test]
fn rows_that_are_no_questions_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refuse = |name: &str, content: &str, names: &[&str]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        refused(&["eval", "tasks", &path.to_string_lossy()], 2, names);
    };
    refuse("a.jsonl", "{\"x\": 1}\n", &["a.jsonl, row 1"]);
    refuse("b.jsonl", "", &["b.jsonl", "no row"]);
    refuse("c.txt", "text", &["c.txt", "neither"]);
    refuse(
        "d.jsonl",
        "{\"query\": \"Q\", \"choices\": [\"a\"], \"gold\": 4}\n",
        &["row 1", "gold"],
    );
    refuse("e.parquet", "PAR1", &["e.parquet"]);
    let path = format!("{DATA}/tasks/arc.parquet");
    refused(
        &["eval", "tasks", "--offset", "3", &path],
        2,
        &["3 questions"],
    );
}

/// The first stages of a packed folder are what quantizing with fewer stages gives, since the papers' stages are chosen
/// one after the other.
#[test]
fn first_stages_of_a_packed_folder_are_a_model() {
    let (folder, path) = text("a.txt", 2000);
    let quantized = |stages: &str| {
        let out = folder.path().join(stages);
        let out = out.to_str().expect("UTF-8").to_owned();
        let how = ["--granularity", "row", "--stages", stages];
        good(&[&["quantize", STORIES, &out], &how[..]].concat());
        out
    };
    let [one, two, packed] = ["1", "2", "3"].map(quantized);
    let packed = packed.as_str();
    let sweep = |model: &str, more: &[&str]| -> Vec<f64> {
        let args = ["eval", "ppl", "-m", model, "--block", "64", "--json", &path];
        let rows = json(&[&args[..], more].concat());
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| number(row, "ppl")).collect()
    };
    let stages = ["--stages", "1,2,3"];
    let wanted = [&one, &two, packed].map(|model| sweep(model, &[])[0]);
    assert_eq!(sweep(packed, &stages), wanted);
    assert_eq!(sweep(packed, &[]), wanted[2..]);
    assert!(wanted[2] < wanted[1] && wanted[1] < wanted[0]);
    let generated = json(&[
        "generate", "-m", packed, "--stages", "1", "-n", "4", "--json", "Once",
    ]);
    let method = generated["stats"]["method"].as_str().expect("a method");
    assert!(method.contains("stages 1, scales per row"), "{method}");
    let info = |more: &[&str]| {
        let info = json(&[&["info", packed, "--json"], more].concat());
        number(&info, "bits_per_linear_weight")
    };
    assert!(info(&["--stages", "1"]) < 0.5 * info(&[]));
    good(&[
        "bench", "-m", packed, "--stages", "1", "-p", "4", "-n", "2", "-r", "1",
    ]);
    let eval = ["eval", "ppl", "-m", packed, &path, "--stages"];
    refused(
        &[&eval[..], &["4"]].concat(),
        2,
        &["first 4 stages", "has 3"],
    );
    refused(&[&eval[..], &["full"]].concat(), 2, &["packed already"]);
    let ternary = folder.path().join("ternary");
    let ternary = ternary.to_str().expect("UTF-8");
    good(&["quantize", STORIES, ternary, "--method", "bitnet_1_58"]);
    let eval = ["eval", "ppl", "-m", ternary, &path, "--stages", "1"];
    refused(&eval, 2, &["has none"]);
}
