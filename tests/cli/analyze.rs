//! `analyze`: tables, JSON, one page, and what it refuses.

use super::*;
use std::fs;

const BITNET: &[&str] = &["--method", "bitnet"];

#[test]
fn the_builtin_model_is_described() {
    let text = good(&["analyze"]);
    for word in ["Codes and scales", "0.q", "head", "Padding", "packed"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    let report = json(&["analyze", "--json"]);
    assert_eq!(report["model"], "builtin");
    assert!(
        report["layers"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
}

#[test]
fn a_folder_of_odd_sizes_shows_errors_and_what_padding_costs() {
    let folder = small::on_disk(&small::whole());
    let path = folder.path().to_str().expect("UTF-8");
    let text = good(&["analyze", path]);
    for word in ["T=4", "kurtosis", "odd bytes", "for a token", "Averages"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    let report = json(&["analyze", "-m", path, "--json"]);
    let gate = &report["layers"][4];
    assert_eq!(gate["kind"], "gate");
    // 7 x 12: 4 complex rows of 6 columns in one word each, U and W in two stages
    assert_eq!(gate["padding"]["stored_bytes"], 4 * 4 * 2 * 2);
    assert_eq!(gate["padding"]["ideal_bytes"], 7.0 * 12.0 / 4.0);
    assert_eq!(gate["padding"]["odd_bytes"], 12.0 / 4.0);
    let times = report["odd_products"].as_array().expect("a list");
    let shapes: Vec<_> = times.iter().map(|t| t["shape"].clone()).collect();
    assert_eq!(
        shapes,
        [serde_json::json!([7, 12]), serde_json::json!([12, 7])]
    );
    assert!(times.iter().all(|t| t["microseconds"].as_f64() > Some(0.0)));
}

#[test]
fn a_page_is_written_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.html");
    let name = file.to_str().expect("UTF-8");
    let report = json(&["analyze", "--html", name, "--json"]);
    assert!(report["summary"].is_object());
    let page = fs::read_to_string(&file).expect("it is written");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    fs::write(&file, "precious").expect("a file");
    refused(&["analyze", "--html", name], 2, &["report.html", "--force"]);
    assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
    good(&["analyze", "--html", name, "--force"]);
    assert_eq!(fs::read_to_string(&file).expect("it is written"), page);
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "nothing else is left behind");
}

#[test]
fn what_is_read_is_never_written() {
    let folder = small::on_disk(&small::whole());
    let path = folder.path().to_str().expect("UTF-8");
    let config = folder.path().join("config.json");
    let before = fs::read(&config).expect("a file");
    let config_name = config.to_str().expect("UTF-8");
    let to_config = ["analyze", path, "--html", config_name, "--force"];
    refused(&to_config, 2, &["config.json", "which is read"]);
    assert_eq!(fs::read(&config).expect("still there"), before);
    let text = folder.path().with_extension("text");
    fs::write(&text, "Once upon a time").expect("a file");
    let text_name = text.to_str().expect("UTF-8");
    let to_text = [
        "analyze", "--text", text_name, "--html", text_name, "--force",
    ];
    refused(&to_text, 2, &["which is read"]);
    assert_eq!(fs::read(&text).expect("still there"), b"Once upon a time");
    fs::remove_file(&text).expect("a file");
    refused(&["analyze", "--html", path], 2, &["no ordinary file"]);
    assert_eq!(
        run(&["analyze", "--force"]).code,
        2,
        "there is nothing to replace"
    );
}

#[test]
fn a_text_shows_what_enters_the_layers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("text.txt");
    fs::write(&file, "Once upon a time there was a girl. ".repeat(20)).expect("a file");
    let name = file.to_str().expect("UTF-8");
    let args = ["analyze", "--text", name, "--tokens", "24", "--json"];
    let report = json(&args);
    assert_eq!(report["activity"]["tokens"], 24);
    let inputs = report["activity"]["inputs"].as_array().expect("a list");
    assert!(inputs.iter().all(|i| i["largest"].as_f64() > Some(0.0)));
    assert_eq!(
        report["activity"]["outputs"].as_array().map(Vec::len),
        Some(0)
    );
    fs::write(&file, " \n").expect("a file");
    refused(&["analyze", "--text", name], 2, &["text.txt", "is empty"]);
    assert_eq!(run(&["analyze", "--tokens", "5"]).code, 2, "of no text");
    refused(&["analyze", "--text", "absent.txt"], 2, &["absent.txt"]);
}

#[test]
fn binary_weights_have_no_angles() {
    let folder = small::on_disk(&small::whole());
    let out = tempfile::tempdir().expect("a temporary folder");
    let packed = out.path().join("packed");
    let (path, packed) = (folder.path().to_str(), packed.to_str());
    let (path, packed) = (path.expect("UTF-8"), packed.expect("UTF-8"));
    good(&[&["quantize", path, packed], BITNET].concat());
    refused(
        &["analyze", packed],
        2,
        &["bitnet", "start from the full-precision folder"],
    );
}
