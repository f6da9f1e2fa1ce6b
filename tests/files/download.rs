//! Models fetched from a hub on this machine: what lies in the cache afterwards, and what is said when it cannot be.

use super::hub_server::{COMMIT, Server, git_sha1, is_large, sha256};
use super::small::{self, Files};
use fairy2i_gpu::files::hub::{Hub, HubName, Part, Progress};
use fairy2i_gpu::{Error, Result, files};
use std::fs;
use std::path::{Path, PathBuf};

/// A model with all that a repository has, and more.
fn repository() -> Files {
    let mut files = small::sharded();
    for (name, text) in [
        ("generation_config.json", "{}"),
        ("README.md", "# a model"),
        ("modeling_llama.py", "import os"),
        ("pytorch_model.bin", "pickles"),
        ("onnx/config.json", "{}"),
        ("gguf/model-Q4_K.gguf", "GGUF of some length"),
    ] {
        files.insert(name.to_owned(), text.as_bytes().to_vec());
    }
    files
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub {
        cache: cache.to_owned(),
        endpoint: server.endpoint.clone(),
        token: None,
        offline: false,
    }
}

fn name(text: &str) -> HubName {
    HubName::of(Path::new(text))
        .expect("a good name")
        .expect("a name")
}

fn locate(hub: &Hub, text: &str) -> Result<PathBuf> {
    hub.locate(&name(text), Part::Model, &mut |_| {})
}

/// The message of a refusal, its exit code checked.
#[track_caller]
fn refused(result: Result<PathBuf>, code: u8, words: &[&str]) -> String {
    let error: Error = result.expect_err("refused");
    let text = error.to_string();
    assert_eq!(error.exit_code(), code, "{text}");
    assert!(!text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    text
}

/// All paths of a folder, without those of locks.
fn paths(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.symlink_metadata().expect("there").is_dir() {
                true => left.push(path),
                false => all.push(
                    path.strip_prefix(root)
                        .expect("inside")
                        .display()
                        .to_string(),
                ),
            }
        }
    }
    all.retain(|path| !path.starts_with(".locks"));
    all.sort();
    all
}

#[test]
fn the_cache_lies_as_python_has_it() {
    let (files, cache) = (repository(), tempfile::tempdir().unwrap());
    let server = Server::new(files.clone());
    let hub = hub(&server, cache.path());
    let mut told = Vec::new();
    let mut tell = |p: Progress<'_>| told.push((p.file.to_owned(), p.done, p.total));
    let folder = hub
        .locate(&name("hf:owner/model"), Part::Model, &mut tell)
        .unwrap();
    let repository = cache.path().join("models--owner--model");
    assert_eq!(folder, repository.join("snapshots").join(COMMIT));
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );

    let wanted = [
        "a.safetensors",
        "b.safetensors",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
    ];
    let mut lie = vec!["models--owner--model/refs/main".to_owned()];
    for file in wanted {
        let bytes = &files[file];
        let blob = match is_large(file) {
            true => sha256(bytes),
            false => git_sha1(bytes),
        };
        let link = fs::read_link(folder.join(file)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(&blob), "{file}");
        assert_eq!(&fs::read(folder.join(file)).unwrap(), bytes);
        lie.push(format!("models--owner--model/blobs/{blob}"));
        lie.push(format!("models--owner--model/snapshots/{COMMIT}/{file}"));
    }
    lie.sort();
    assert_eq!(paths(cache.path()), lie);
    let (_, done, total) = told.last().unwrap();
    assert_eq!(
        (done, total),
        (total, &wanted.iter().map(|f| files[*f].len() as u64).sum())
    );
    assert!(told.is_sorted_by_key(|(_, done, _)| *done));

    // It is a model, and is there from now on without anybody being asked.
    assert!(files::open(&folder).is_ok());
    server.asked();
    assert_eq!(locate(&hub, "hf:owner/model").unwrap(), folder);
    let alone = Hub {
        offline: true,
        ..hub
    };
    assert_eq!(
        locate(&alone, &format!("hf:owner/model@{COMMIT}")).unwrap(),
        folder
    );
    assert_eq!(server.asked(), [""; 0]);
    refused(
        locate(&alone, "hf:owner/model@v1.0"),
        2,
        &["v1.0", "hf download owner/model"],
    );
    refused(
        locate(&alone, "hf:owner/other"),
        2,
        &["hf:owner/other", "is not in"],
    );
}

#[test]
fn parts_files_and_revisions_are_fetched_alone() {
    let (mut files, cache) = (repository(), tempfile::tempdir().unwrap());
    files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
    let server = Server::new(files);
    let hub = hub(&server, cache.path());
    let folder = hub.locate(&name("hf:owner/model@v1.0"), Part::Tokenizer, &mut |_| {});
    let folder = folder.unwrap();
    assert!(folder.join("tokenizer.json").is_file() && folder.join("config.json").is_file());
    assert!(!folder.join("a.safetensors").exists());
    let file = locate(&hub, "hf:owner/model/gguf/model-Q4_K.gguf@refs/pr/1").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"GGUF of some length");
    assert!(fs::read_link(&file).unwrap().starts_with("../../../blobs"));
    let refs = cache.path().join("models--owner--model/refs");
    for revision in ["v1.0", "refs/pr/1"] {
        assert_eq!(fs::read_to_string(refs.join(revision)).unwrap(), COMMIT);
    }
    // What is there already is not asked for again.
    server.asked();
    locate(&hub, "hf:owner/model@v1.0").unwrap();
    let asked = server.asked();
    assert!(
        !asked.iter().any(|a| a.ends_with("/config.json")),
        "{asked:?}"
    );
}

#[test]
fn broken_connections_are_taken_up_again() {
    let (mut files, cache) = (repository(), tempfile::tempdir().unwrap());
    let gguf: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(0x9E37_79B1) >> 24) as u8)
        .collect();
    files.insert("x.gguf".to_owned(), gguf.clone());
    let server = Server::new(files);
    let hub = hub(&server, cache.path());
    server.state().breaks = 3;
    let file = locate(&hub, "hf:owner/model/x.gguf").unwrap();
    assert_eq!(fs::read(file).unwrap(), gguf);
    let asked = server.asked();
    for range in [" 50000-", " 75000-", " 87500-"] {
        let hits = asked.iter().filter(|a| a.ends_with(range)).count();
        assert_eq!(hits, 2, "the hub and the store: {asked:?}");
    }
    assert!(
        paths(cache.path())
            .iter()
            .all(|path| !path.ends_with("incomplete"))
    );
}

#[test]
fn what_an_interrupted_run_fetched_is_kept() {
    let (mut files, cache) = (repository(), tempfile::tempdir().unwrap());
    let gguf = vec![7u8; 5000];
    files.insert("x.gguf".to_owned(), gguf.clone());
    let server = Server::new(files);
    let hub = hub(&server, cache.path());
    let blobs = cache.path().join("models--owner--model/blobs");
    let incomplete = blobs.join(format!("{}.incomplete", sha256(&gguf)));
    fs::create_dir_all(&blobs).unwrap();
    fs::write(&incomplete, &gguf[..4000]).unwrap();
    let mut first = None;
    let mut tell = |p: Progress<'_>| first = first.or(Some((p.done, p.total)));
    let model = name("hf:owner/model/x.gguf");
    let file = hub.locate(&model, Part::Model, &mut tell).unwrap();
    assert_eq!(fs::read(&file).unwrap(), gguf);
    assert_eq!(first, Some((1000, 1000)));
    assert!(server.asked().iter().any(|a| a.ends_with(" 4000-")) && !incomplete.exists());

    // A store without ranges sends all of it; a file that is longer than it may be is begun anew.
    for (no_ranges, length) in [(true, 4000), (false, 6000)] {
        fs::remove_dir_all(cache.path()).unwrap();
        fs::create_dir_all(&blobs).unwrap();
        fs::write(&incomplete, vec![1u8; length]).unwrap();
        server.state().no_ranges = no_ranges;
        assert_eq!(
            fs::read(locate(&hub, "hf:owner/model/x.gguf").unwrap()).unwrap(),
            gguf
        );
    }
}

#[test]
fn bytes_that_are_not_those_announced_are_thrown_away() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::new(repository());
    let hub = hub(&server, cache.path());
    server.state().corrupt = true;
    refused(
        locate(&hub, "hf:owner/model"),
        2,
        &["a.safetensors", "hash", "again"],
    );
    let all = paths(cache.path());
    assert!(
        !all.iter()
            .any(|p| p.ends_with("incomplete") || p.contains("refs")),
        "{all:?}"
    );
    server.state().corrupt = false;
    assert!(files::open(locate(&hub, "hf:owner/model").unwrap()).is_ok());
}

#[test]
fn gated_models_need_a_token_that_the_store_never_sees() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::new(repository());
    let mut hub = hub(&server, cache.path());
    server.state().gated = Some("hf_good".to_owned());
    let terms = refused(locate(&hub, "hf:owner/model"), 2, &["terms", "HF_TOKEN"]);
    assert!(
        terms.contains(&format!("{}/owner/model", server.endpoint)),
        "{terms}"
    );
    hub.token = Some("hf_other".to_owned());
    let refusal = refused(
        locate(&hub, "hf:owner/model"),
        2,
        &["owner/model", "access"],
    );
    assert!(!refusal.contains("hf_other"), "{refusal}");
    assert!(paths(cache.path()).is_empty());
    hub.token = Some("hf_good".to_owned());
    assert!(locate(&hub, "hf:owner/model").is_ok());
}

#[test]
fn what_is_not_there_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::new(repository());
    let hub = hub(&server, cache.path());
    refused(
        locate(&hub, "hf:owner/none"),
        2,
        &["owner/none does not exist", "HF_TOKEN"],
    );
    refused(
        locate(&hub, "hf:owner/model@v9"),
        2,
        &["owner/model", "revision `v9`"],
    );
    let file = "hf:owner/model/model-Q8.gguf";
    refused(
        locate(&hub, file),
        2,
        &["model-Q8.gguf", "gguf/model-Q4_K.gguf"],
    );
    let part = hub.locate(&name("hf:owner/model"), Part::Tokenizer, &mut |_| {});
    refused(part, 2, &["owner/model has no tokenizer.json"]);
    server.state().files.remove("model.safetensors.index.json");
    refused(
        locate(&hub, "hf:owner/model"),
        2,
        &["no model.safetensors", "FILE.gguf"],
    );
    server
        .state()
        .files
        .retain(|name, _| !name.ends_with("gguf"));
    refused(locate(&hub, "hf:owner/model"), 2, &["PyTorch"]);
    server.state().files.clear();
    refused(locate(&hub, "hf:owner/model"), 2, &["no config.json"]);
    assert!(!cache.path().join("models--owner--model/refs").exists());
}

#[test]
fn disks_and_networks_fail_in_one_line() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::new(repository());
    let mut hub = hub(&server, cache.path());
    server.state().announced = Some(1 << 60);
    refused(
        locate(&hub, "hf:owner/model"),
        2,
        &["needs", "are free", "HF_HUB_CACHE"],
    );
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    hub.endpoint = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let endpoint = hub.endpoint.clone();
    refused(locate(&hub, "hf:owner/other"), 1, &[&endpoint, "network"]);
    // A place where nothing can be written.
    let file = cache.path().join("file");
    fs::write(&file, b"").unwrap();
    server.state().announced = None;
    let nowhere = super::download::hub(&server, &file.join("cache"));
    let text = nowhere.locate(&name("hf:owner/model"), Part::Model, &mut |_| {});
    refused(text, 2, &["file/cache"]);
}

#[test]
fn two_who_want_the_same_fetch_it_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::new(repository());
    let hub = hub(&server, cache.path());
    std::thread::scope(|scope| {
        let all = [(); 8].map(|()| scope.spawn(|| locate(&hub, "hf:owner/model")));
        for one in all {
            assert!(files::open(one.join().unwrap().unwrap()).is_ok());
        }
    });
    let hash = sha256(&server.state().files["a.safetensors"]);
    let of_store = |asked: &&String| asked.starts_with(&format!("GET /{hash}"));
    assert_eq!(server.asked().iter().filter(of_store).count(), 1);
}
