//! Where the hub and its cache are, as the environment says: the variables are those of `huggingface_hub`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The hub that everybody means.
const ENDPOINT: &str = "https://huggingface.co";
/// Longest file of a token that is read.
const LONGEST_TOKEN: usize = 4096;

/// The hub, and its cache on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// The folder of all repositories.
    pub cache: PathBuf,
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// Who is asking, where that matters.
    pub token: Option<String>,
    /// Whether only the cache is looked at.
    pub offline: bool,
}

impl Hub {
    /// As the variables of an environment say: `HF_HOME`, `HF_HUB_CACHE`, `XDG_CACHE_HOME`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH` and `HF_HUB_OFFLINE`, among others.
    pub fn from_env(env: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let home = path("HF_HOME").unwrap_or_else(|| {
            let user = || path("HOME").or_else(std::env::home_dir).unwrap_or_default();
            let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| user().join(".cache"));
            caches.join("huggingface")
        });
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let flag = |name: &str| {
            let value = text(name).unwrap_or_default().to_uppercase();
            matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE")
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| {
            let implicit = !flag("HF_HUB_DISABLE_IMPLICIT_TOKEN");
            implicit.then(|| token_in(&file)).flatten()
        });
        Self {
            cache: cache.unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.as_deref().and_then(cleaned),
            offline: flag("HF_HUB_OFFLINE") || flag("TRANSFORMERS_OFFLINE"),
        }
    }
}

/// The token is nobody's business.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .finish()
    }
}

/// What the file of a token holds, if there is one.
fn token_in(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    (text.len() <= LONGEST_TOKEN).then_some(text)
}

/// A token without the line end behind it. What could not stand in a header is no token.
fn cleaned(token: &str) -> Option<String> {
    let token = token.trim();
    let good = !token.is_empty() && token.bytes().all(|c| c.is_ascii_graphic());
    good.then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(all: &[(&str, &str)]) -> Hub {
        let value = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        Hub::from_env(value)
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |all: &[(&str, &str)]| hub(all).cache.display().to_string();
        let home = ("HOME", "/home/a");
        assert_eq!(cache(&[home]), "/home/a/.cache/huggingface/hub");
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "/x")]),
            "/x/huggingface/hub"
        );
        assert_eq!(
            cache(&[home, ("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
            "/h/hub"
        );
        let named = ("HF_HUB_CACHE", "/c");
        assert_eq!(cache(&[home, ("HF_HOME", "/h"), named]), "/c");
        assert_eq!(cache(&[home, ("HUGGINGFACE_HUB_CACHE", "/d")]), "/d");
        assert_eq!(
            cache(&[home, ("HF_HOME", "")]),
            "/home/a/.cache/huggingface/hub"
        );
    }

    #[test]
    fn tokens_are_found_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "hf_file\n").expect("written");
        let home = folder.path().to_str().expect("text");
        let of = |all: &[(&str, &str)]| hub(&[&[("HF_HOME", home)][..], all].concat()).token;
        assert_eq!(of(&[]).as_deref(), Some("hf_file"));
        assert_eq!(of(&[("HF_TOKEN", " hf_env ")]).as_deref(), Some("hf_env"));
        assert_eq!(of(&[("HF_TOKEN_PATH", "/no/such/file")]), None);
        assert_eq!(of(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(of(&[("HF_TOKEN", "a\nb")]), None);
        let shown = format!("{:?}", hub(&[("HF_TOKEN", "hf_secret")]));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_hub_is_asked_unless_the_environment_says_no() {
        assert!(!hub(&[]).offline && hub(&[]).endpoint == ENDPOINT);
        for (value, offline) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(hub(&[("HF_HUB_OFFLINE", value)]).offline, offline);
        }
        let other = hub(&[("HF_ENDPOINT", "http://mirror:8080/")]);
        assert_eq!(other.endpoint, "http://mirror:8080");
    }
}
