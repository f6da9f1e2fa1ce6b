//! Layers, texts and data that are dealt to ranks.

use super::{MODEL, Place, TEXT, good, on, printed, refused};

/// Prompts in several batches, tokens that are drawn, and drafts: every rank has some of the layers.
#[test]
fn layers_that_are_dealt_to_ranks_choose_the_same_ids() {
    let prompt = "Once upon a time there was a little girl who had a red ball. One day";
    for more in [
        &["--temp", "0"][..],
        &["-s", "7", "--stages", "2"],
        &["--temp", "0", "--lookup", "3"],
    ] {
        let all = [
            &["generate", "-m", MODEL, "-n", "12", "-u", "5", prompt],
            more,
        ]
        .concat();
        let ids = |ranks| printed(ranks, &all)["ids"].clone();
        let one = ids(1);
        assert_eq!(one.as_array().map(Vec::len), Some(12));
        for ranks in [2, 3] {
            assert_eq!(ids(ranks), one, "{more:?} on {ranks} ranks");
        }
    }
    let mut many = on(6);
    many.args(["generate", "-m", MODEL, "Once"]);
    refused(many, 2, &["6 ranks", "5 layers"]);
}

#[test]
fn a_text_that_is_dealt_to_ranks_has_the_same_perplexity() {
    let place = Place::new();
    let novel = place.novel(3000);
    let all = [
        "eval", "ppl", "-m", MODEL, "--stages", "full,1", "-c", "32", "-u", "64", &novel,
    ];
    let measured = |ranks| {
        let mut rows = printed(ranks, &all);
        for row in rows.as_array_mut().expect("a list") {
            let row = row.as_object_mut().expect("a row");
            assert!(row.remove("seconds").is_some() && row.remove("tokens_per_second").is_some());
        }
        rows
    };
    let one = measured(1);
    for ranks in [2, 3] {
        assert_eq!(measured(ranks), one, "{ranks} ranks");
    }
}

#[test]
fn data_that_ranks_make_is_that_of_one() {
    let place = Place::new();
    let text = std::fs::read(TEXT).expect("a text of the repository");
    let mut files = Vec::new();
    for (i, part) in text[..6000].chunks(900).enumerate() {
        let file = place.path(&format!("part-{i}.txt"));
        std::fs::write(&file, part).expect("written");
        files.push(file);
    }
    // One that no text begins with, which is told and counted.
    let bad = place.path("part-bad.jsonl");
    std::fs::write(&bad, "{\"text\": \"Once\"}\nnonsense\n").expect("written");
    files.insert(3, bad);
    let make = |ranks: usize| {
        let mut command = on(ranks);
        command.args(["data", "--tokenizer", MODEL, "--block", "16", "--out"]);
        let out = place.path(&format!("data-{ranks}"));
        good({
            command.arg(&out).args(&files);
            command
        });
        let mut all: Vec<_> = std::fs::read_dir(&out)
            .expect("a folder")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                (
                    path.file_name().map(ToOwned::to_owned),
                    std::fs::read(&path).expect("a file"),
                )
            })
            .collect();
        all.sort();
        all
    };
    let one = make(1);
    for ranks in [2, 3] {
        assert!(make(ranks) == one, "{ranks} ranks");
    }
}
